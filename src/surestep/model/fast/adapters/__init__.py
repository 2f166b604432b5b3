"""Low-rank adapters beside the frozen weights of fused layers, in few products and few passes over memory."""

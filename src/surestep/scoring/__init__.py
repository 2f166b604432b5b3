"""Text meets tensors here and nowhere else: preparing data, building models, scoring, checkpoints."""

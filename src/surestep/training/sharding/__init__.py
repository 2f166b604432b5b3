"""Training with weights, gradients and moments shared out over the processes (`training.fsdp`)."""

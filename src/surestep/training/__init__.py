"""Training on Accelerate: mixture, steps, validation, checkpoints and exact resume."""

"""What happens around the training loop: logs, validation, checkpoints, stopping."""

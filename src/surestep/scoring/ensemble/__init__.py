"""Several checkpoints that score as one: a deep ensemble."""

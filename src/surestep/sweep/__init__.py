"""Sweeps: many runs of training over a space of settings, and which of them is the best by validation."""

"""Scorers without a language model, measured beside the model."""

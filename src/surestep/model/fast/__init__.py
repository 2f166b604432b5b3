"""Faster forms of known layers, with the same results."""

"""Evaluations on disk: finding them, and telling which are about the same steps."""

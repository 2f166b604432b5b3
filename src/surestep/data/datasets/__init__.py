"""Datasets and file layouts, a reader each."""

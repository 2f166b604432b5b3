"""A checkpoint's folder: written whole, every byte checked when read."""

"""Weights and products in fewer bits, and float32 weights multiplied in half precision."""

"""Evaluations side by side, and which differences are real."""

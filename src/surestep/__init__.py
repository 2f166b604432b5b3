"""Surestep: how far each step of a model's reasoning can be trusted."""

__version__ = "0.1.0"

"""Scorers that Surestep did not train: reward models of others, a Python function, and what wraps any scorer."""

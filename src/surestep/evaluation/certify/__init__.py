"""Certifying what a scorer keeps: its own problems, the rule, and what is said of it."""

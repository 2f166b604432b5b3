"""Scoring every step of a split and measuring how far the scores can be trusted."""

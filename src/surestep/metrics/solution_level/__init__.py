"""Whole solutions, judged by their steps' confidences: which are right, which come first, which of two is better."""

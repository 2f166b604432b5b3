"""Scoring by several processes: what they tell each other, and how they share trees."""

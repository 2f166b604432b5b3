"""From the joined product of queries, keys and values to attended heads."""

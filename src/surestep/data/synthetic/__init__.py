"""Data made by the program, whose true confidence is known."""

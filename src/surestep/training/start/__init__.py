"""How a run starts: its folder locked, and what it begins from."""

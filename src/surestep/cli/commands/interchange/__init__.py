"""Commands that hand a model on: to other programs, and to the hub."""

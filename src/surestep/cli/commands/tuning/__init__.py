"""Commands that look for good settings."""

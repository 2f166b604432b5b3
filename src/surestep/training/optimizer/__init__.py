"""AdamW, in 32 or 8 bits, and its moments in files."""

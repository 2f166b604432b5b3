"""Which files a configuration asks for, found on disk and split by problem."""

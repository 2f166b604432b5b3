"""The addresses of our own interface, a file a subject."""

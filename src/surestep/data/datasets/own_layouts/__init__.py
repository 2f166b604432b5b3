"""Layouts of files that others write and that are no dataset of their own: a file and an entry each."""

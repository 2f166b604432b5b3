"""A look inside: sizes, labels, trees as text, problems that two sets share."""

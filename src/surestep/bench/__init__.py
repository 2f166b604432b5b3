"""How fast this machine trains and scores: the program's own loop on work of a known shape, beside what it could do."""

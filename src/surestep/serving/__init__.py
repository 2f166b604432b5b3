"""Scoring over HTTP: the server, its queue, the protocols it speaks, and a client. Knows no torch."""

"""The phases of a run: which steps and which data are whose, and what a resumed run must still agree with."""

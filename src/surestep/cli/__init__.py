"""The command line: argv, printing and exit codes. Wires the rest; knows no maths."""

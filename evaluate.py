"""Evaluation: the same as `surestep evaluate`."""

import sys

from surestep.cli.commands.evaluate import script

if __name__ == "__main__":
    sys.exit(script())

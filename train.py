"""Full fine-tuning: the same as `surestep train`."""

import sys

from surestep.cli.commands.train import script

if __name__ == "__main__":
    sys.exit(script("full"))

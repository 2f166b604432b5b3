"""LoRA training: the same as `surestep train --preset lora`."""

import sys

from surestep.cli.commands.train import script

if __name__ == "__main__":
    sys.exit(script("lora"))

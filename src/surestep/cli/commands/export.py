"""`surestep export`: a checkpoint as one merged backbone with its head."""

from __future__ import annotations

import argparse
from pathlib import Path

from surestep.cli.output.console import say


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="FOLDER", help="a checkpoint_step_<N> folder")
    parser.add_argument(
        "--output_dir",
        "--output-dir",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="folder to write; must not exist",
    )


def run(args: argparse.Namespace) -> int:
    """Export; 0 when done."""
    from surestep.scoring.checkpoint.export import export_merged
    from surestep.scoring.checkpoint.load import read_config

    export_merged(args.checkpoint, args.output_dir)
    say(f"wrote {args.output_dir}: a checkpoint of its own (float32), its backbone merged")
    base = read_config(args.checkpoint).lora.base_precision
    if base != "same":
        say(f"· the adapters were trained over {base} weights and are now merged into the original: measure it")
    say(f"next: python evaluate.py --checkpoint {args.output_dir}")
    return 0

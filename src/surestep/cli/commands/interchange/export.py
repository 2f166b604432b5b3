"""`surestep export`: a checkpoint as one merged backbone with its head."""

from __future__ import annotations

import argparse
from pathlib import Path

from surestep.cli.checkpoint_argument import add_checkpoint, required
from surestep.cli.output.console import next_command, say
from surestep.errors import ConfigError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_checkpoint(parser)
    parser.add_argument(
        "--output_dir",
        "--output-dir",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="folder to write; must not exist",
    )
    parser.add_argument(
        "--for",
        dest="target",
        choices=("surestep", "vllm"),
        default="surestep",
        help="surestep (default): a checkpoint of its own, whose backbone transformers loads too; vllm: a folder for "
        "`vllm serve`",
    )
    parser.add_argument(
        "--layout",
        choices=("process-reward", "classification", "plugin"),
        help="with --for vllm (default: the plainest that holds the head exactly)",
    )
    parser.add_argument(
        "--uncalibrated", action="store_true", help="with --for vllm: leave the checkpoint's calibration out"
    )


def run(args: argparse.Namespace) -> int:
    """Export; 0 when done."""
    required(args)
    if args.target == "vllm":
        return _for_vllm(args)
    if args.layout is not None or args.uncalibrated:
        raise ConfigError("--layout and --uncalibrated belong to --for vllm: add it, or drop them")

    from surestep.scoring.checkpoint.export import export_merged
    from surestep.scoring.checkpoint.load import read_config

    export_merged(args.checkpoint, args.output_dir)
    say(f"wrote {args.output_dir}: a checkpoint of its own (float32), its backbone merged")
    _say_merged(read_config(args.checkpoint).lora.base_precision)
    say(next_command("python evaluate.py --checkpoint", args.output_dir))
    return 0


def _for_vllm(args: argparse.Namespace) -> int:
    from surestep.scoring.checkpoint.load import read_config
    from surestep.scoring.vllm.export import export_for_vllm

    made = export_for_vllm(args.checkpoint, args.output_dir, layout=args.layout, calibrated=not args.uncalibrated)
    say(f"wrote {args.output_dir}: for vLLM (float32), layout {made.layout}")
    for line in made.lines:
        say(f"· {line}")
    _say_merged(read_config(args.checkpoint).lora.base_precision)
    say(f"next: {made.command}")
    return 0


def _say_merged(base_precision: str) -> None:
    if base_precision != "same":
        weights = f"{base_precision} weights"
        say(f"· the adapters were trained over {weights} and are now merged into the original: measure it")

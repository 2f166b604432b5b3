"""`surestep average`: the mean of the weights of several checkpoints, as a checkpoint of its own."""

from __future__ import annotations

import argparse
from pathlib import Path

from surestep.cli.checkpoint_argument import add_checkpoint, named_checkpoints
from surestep.cli.output.console import next_command, say
from surestep.cli.table_command import positive
from surestep.errors import CheckpointError, ConfigError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_checkpoint(parser, purpose="; two or more, or one run with --last", finds_itself=True, several=True)
    parser.add_argument(
        "--last", type=positive, metavar="K", help="the last K checkpoints of the one run that is named"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="folder to write; must not exist")


def run(args: argparse.Namespace) -> int:
    """Average; 0 when done."""
    from surestep.scoring.checkpoint.average import average_checkpoints
    from surestep.scoring.checkpoint.find import checkpoint_of_run

    named = named_checkpoints(args)
    if args.last is not None:
        folders = _last(named, args.last)
    else:
        found = [checkpoint_of_run(path) for path in named]
        folders = [path if one is None else one.folder for path, one in zip(named, found, strict=True)]
        for line in (one.line for one in found if one is not None):
            say(f"· {line}")
    made = average_checkpoints(folders, args.output)
    say(f"wrote {made.folder}: a checkpoint of its own")
    for line in made.lines:
        say(f"· {line}")
    say(next_command("surestep evaluate --split validation", made.folder))
    return 0


def _last(named: list[Path], count: int) -> list[Path]:
    """The last checkpoints of a run, in the order of steps."""
    from surestep.scoring.checkpoint.find import list_checkpoints

    if len(named) != 1:
        raise ConfigError(f"--last {count} takes them from one run, and {len(named)} are named: drop it, or the others")
    if count < 2:
        raise ConfigError(f"--last {count}: an average takes two or more checkpoints")
    checkpoints = list_checkpoints(named[0])
    if len(checkpoints) < count:
        what = "no run with checkpoints" if not checkpoints else f"a run with {len(checkpoints)} of them"
        raise CheckpointError(f"{named[0]} is {what}, and --last asks for {count}; a lower --save_steps keeps more")
    return [path for _, path in checkpoints[-count:]]

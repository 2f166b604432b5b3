"""One way to name a checkpoint, for every command: as its argument, or with `--checkpoint`.

`surestep evaluate outputs/mine` and `surestep evaluate --checkpoint outputs/mine` are the same, and a run stands for
its best checkpoint, which is said.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from surestep.errors import ConfigError

_GIVEN = "checkpoint_argument"
_FINDS_ITSELF = "finds_its_checkpoint"


def add_checkpoint(
    parser: argparse.ArgumentParser, *, purpose: str = "", kind: type = Path, finds_itself: bool = False
) -> None:
    """Add both ways.

    Args:
        parser: the command's.
        purpose: what it is for, put behind "a run or a checkpoint".
        kind: what the text becomes.
        finds_itself: the command finds the checkpoint of a run or a hub id by itself.
    """
    what = f"a run (its best checkpoint) or a checkpoint{purpose}"
    parser.add_argument(_GIVEN, type=kind, nargs="?", metavar="CHECKPOINT", help=what)
    parser.add_argument("--checkpoint", type=kind, metavar="CHECKPOINT", help="the same, as a flag")
    parser.set_defaults(**{_FINDS_ITSELF: finds_itself})


def settle_checkpoint(args: argparse.Namespace) -> str | None:
    """Make one of the two ways; a line on the checkpoint of a run that was named.

    Raises:
        ConfigError: both ways are used.
        CheckpointError: the run's mark of its best checkpoint is damaged.
    """
    if not hasattr(args, _GIVEN):
        return None
    given = getattr(args, _GIVEN)
    if given is not None and args.checkpoint is not None:
        raise ConfigError(f"the checkpoint is named twice: {given} and --checkpoint {args.checkpoint}; drop one")
    args.checkpoint = args.checkpoint if given is None else given
    if args.checkpoint is None or getattr(args, _FINDS_ITSELF):
        return None
    from surestep.scoring.checkpoint.find import checkpoint_of_run

    found = checkpoint_of_run(args.checkpoint)
    if found is None:
        return None
    args.checkpoint = found.folder
    return found.line


def required(args: argparse.Namespace) -> Any:
    """The checkpoint of a command that does nothing without one.

    Raises:
        ConfigError: none is named.
    """
    if args.checkpoint is None:
        raise ConfigError("name a checkpoint: a run's folder, or one of its checkpoint_step_<N> folders")
    return args.checkpoint

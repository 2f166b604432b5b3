"""One way to name a checkpoint, for every command: as its argument, or with `--checkpoint`.

`surestep evaluate outputs/mine` and `surestep evaluate --checkpoint outputs/mine` are the same, and a run stands for
its best checkpoint, which is said. Some commands take several (`surestep evaluate a b c`): a deep ensemble, or what is
averaged.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from surestep.errors import ConfigError

_GIVEN = "checkpoint_argument"
_FINDS_ITSELF = "finds_its_checkpoint"
_SEVERAL = "takes_several_checkpoints"
ENSEMBLE = "; of several, the mean of what they say is the confidence (a deep ensemble)"
"""What several checkpoints are for, in the help of the commands that score with them."""


def add_checkpoint(
    parser: argparse.ArgumentParser,
    *,
    purpose: str = "",
    kind: type = Path,
    finds_itself: bool = False,
    several: bool = False,
) -> None:
    """Add both ways.

    Args:
        parser: the command's.
        purpose: what it is for, put behind "a run or a checkpoint".
        kind: what the text becomes.
        finds_itself: the command finds the checkpoint of a run or a hub id by itself.
        several: the command knows what to do with several (`named_checkpoints`).
    """
    what = f"a run (its best checkpoint) or a checkpoint{purpose}"
    # Every command reads several, so that one which takes but one can say so.
    parser.add_argument(_GIVEN, type=kind, nargs="*", metavar="CHECKPOINT", help=what)
    parser.add_argument(
        "--checkpoint", type=kind, nargs="+", action="extend", metavar="CHECKPOINT", help="the same, as a flag"
    )
    parser.set_defaults(**{_FINDS_ITSELF: finds_itself, _SEVERAL: several})


def settle_checkpoint(args: argparse.Namespace) -> str | None:
    """Make one of the two ways; lines on the checkpoints of runs that were named.

    Afterwards `args.checkpoint` is the checkpoint, the first one of several.

    Raises:
        ConfigError: both ways are used, or several are named where one is taken.
        CheckpointError: the run's mark of its best checkpoint is damaged.
    """
    if not hasattr(args, _GIVEN):
        return None
    given, flagged = getattr(args, _GIVEN), args.checkpoint or []
    _give_input_back(args, flagged)
    if given and flagged:
        raise ConfigError(
            f"the checkpoint is named twice: {_shown(given)} and --checkpoint {_shown(flagged)}; drop one"
        )
    named = list(given or flagged)
    if len(named) > 1 and not getattr(args, _SEVERAL):
        raise ConfigError(
            f"surestep {args.command} takes one checkpoint, and {len(named)} are named ({_shown(named)}): drop all but "
            "one; several as an ensemble are for evaluate, benchmark, calibrate, score and rerank"
        )
    lines = []
    if not getattr(args, _FINDS_ITSELF):
        for number, path in enumerate(named):
            named[number], line = _found(path)
            lines += [] if line is None else [line]
    args.checkpoint, args.checkpoints = named[0] if named else None, named
    return "\n· ".join(lines) or None


def _give_input_back(args: argparse.Namespace, flagged: list[Any]) -> None:
    """`--checkpoint a rows.jsonl`: a flag of several values has taken the file behind it.

    Raises:
        ConfigError: there is none.
    """
    if getattr(args, "input", args) is not None:
        return
    if len(flagged) < 2:
        raise ConfigError("the following arguments are required: FILE")
    args.input = Path(flagged.pop())


def _found(path: Path) -> tuple[Path, str | None]:
    from surestep.scoring.checkpoint.find import checkpoint_of_run

    found = checkpoint_of_run(path)
    return (path, None) if found is None else (found.folder, found.line)


def _shown(named: list[Any]) -> str:
    return " ".join(map(str, named))


def required(args: argparse.Namespace) -> Any:
    """The checkpoint of a command that does nothing without one; the first one of several.

    Raises:
        ConfigError: none is named.
    """
    if args.checkpoint is None:
        raise ConfigError("name a checkpoint: a run's folder, or one of its checkpoint_step_<N> folders")
    return args.checkpoint


def named_checkpoints(args: argparse.Namespace) -> list[Any]:
    """All of them, of a command that takes several.

    Raises:
        ConfigError: none is named.
    """
    required(args)
    return list(args.checkpoints)


def is_ensemble(args: argparse.Namespace) -> bool:
    """Whether several are named, of a command that scores with them."""
    return len(getattr(args, "checkpoints", ())) > 1

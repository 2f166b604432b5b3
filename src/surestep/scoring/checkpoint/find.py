"""Which checkpoints an experiment has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from surestep.files import BEST
from surestep.lock import locked
from surestep.untrusted import place_inside, read_json

_STEP_FOLDER = re.compile(r"checkpoint_step_(\d+)")


def checkpoint_path(experiment_dir: Path, step: int) -> Path:
    """Where the checkpoint of `step` lies."""
    return experiment_dir / f"checkpoint_step_{step}"


def list_checkpoints(experiment_dir: Path) -> list[tuple[int, Path]]:
    """Step and folder of every whole checkpoint, in order of steps."""
    found = [
        (int(match[1]), path)
        for path in (experiment_dir.iterdir() if experiment_dir.is_dir() else [])
        if (match := _STEP_FOLDER.fullmatch(path.name)) and path.is_dir()
    ]
    return sorted(found)


def run_of(checkpoint: Path) -> Path:
    """The folder of the run that a checkpoint belongs to; the checkpoint itself where it was taken out of its run."""
    checkpoint = checkpoint.resolve()
    return checkpoint.parent if _STEP_FOLDER.fullmatch(checkpoint.name) else checkpoint


@contextmanager
def locked_run(checkpoint: Path, *, command: str) -> Iterator[str | None]:
    """Hold the lock of a checkpoint's run while something is written into it; gives what `lock.locked` gives.

    Raises:
        LockedError: another process works in the run's folder.
        StorageError: the lock cannot be written.
    """
    with locked(run_of(checkpoint), command=command) as said:
        yield said


def best_checkpoint(experiment_dir: Path) -> Path | None:
    """The checkpoint that training marked as the best by validation, if it is still there."""
    try:
        path = place_inside(experiment_dir, str(read_json(experiment_dir / BEST, allow_nan=True)["checkpoint"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return path if path.is_dir() else None

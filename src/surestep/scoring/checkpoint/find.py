"""Which checkpoints an experiment has."""

from __future__ import annotations

import re
from pathlib import Path

from surestep.files import BEST
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


def best_checkpoint(experiment_dir: Path) -> Path | None:
    """The checkpoint that training marked as the best by validation, if it is still there."""
    try:
        path = place_inside(experiment_dir, str(read_json(experiment_dir / BEST, allow_nan=True)["checkpoint"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return path if path.is_dir() else None

"""The checkpoint that `--resume` goes on from: the last whole one, and what becomes of damaged ones behind it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from surestep.errors import CheckpointError
from surestep.files import storage_errors
from surestep.scoring.checkpoint.find import list_checkpoints
from surestep.scoring.checkpoint.manifest import read_manifest


@dataclass(frozen=True)
class ResumePoint:
    """Where `--resume` goes on.

    Attributes:
        checkpoint: whole, with a training state.
        damaged: later checkpoints that are not, and why.
        said: a line for each later checkpoint that was passed over.
    """

    checkpoint: Path
    damaged: tuple[Path, ...]
    said: tuple[str, ...]


def find_resume_point(folder: Path) -> ResumePoint:
    """The last checkpoint in a run's folder that is whole, every file compared with its manifest.

    Raises:
        CheckpointError: there is none; where all are damaged, it says what is wrong with the last one.
    """
    damaged: list[Path] = []
    said: list[str] = []
    problem: CheckpointError | None = None
    for _, path in reversed(list_checkpoints(folder)):
        if not (path / "training_state").is_dir():
            said.append(f"{path.name} holds no training_state, so the run cannot go on from it")
            continue
        try:
            read_manifest(path, with_state=True)
        except CheckpointError as error:
            problem = problem or error
            damaged.append(path)
            said.append(f"{path.name} is damaged, so the run goes on from an earlier one: {error}")
            continue
        return ResumePoint(path, tuple(damaged), tuple(said))
    if problem is not None:
        raise problem
    raise CheckpointError(
        f"{folder} holds no checkpoint to resume from; start without --resume "
        "(with --overwrite where the folder exists)"
    )


def set_aside_damaged(point: ResumePoint) -> list[str]:
    """Rename damaged checkpoints, so that nothing takes them for whole ones; returns a line for each.

    Raises:
        StorageError: one cannot be renamed.
    """
    said = []
    for path in point.damaged:
        aside = next(
            place
            for number in range(1, 10_000)
            if not (place := path.with_name(f"{path.name}.damaged{'' if number == 1 else f'_{number}'}")).exists()
        )
        with storage_errors(path):
            path.rename(aside)
        said.append(f"the damaged checkpoint is {aside} now; remove it, or restore it from a backup")
    return said

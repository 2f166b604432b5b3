"""Which checkpoints an experiment has, and which one a user's path or hub id means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from surestep.config import TINY_BACKBONE
from surestep.disk import real_path
from surestep.errors import CheckpointError
from surestep.files import BEST, MANIFEST, RUN_LOG
from surestep.lock import locked
from surestep.scoring.checkpoint.from_hub import fetch_from_hub
from surestep.terminal_text import in_one_line
from surestep.untrusted import place_inside, read_json
from surestep.untrusted.bounds import shown

STEP_FOLDER = re.compile(r"checkpoint_step_(\d+)")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""How an address elsewhere begins; `pathlib` writes s3://bucket as s3:/bucket. One letter is a drive of Windows."""
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def checkpoint_path(experiment_dir: Path, step: int) -> Path:
    """Where the checkpoint of `step` lies."""
    return experiment_dir / f"checkpoint_step_{step}"


def list_checkpoints(experiment_dir: Path) -> list[tuple[int, Path]]:
    """Step and folder of every whole checkpoint, in order of steps."""
    found = [
        (int(match[1]), path)
        for path in (experiment_dir.iterdir() if experiment_dir.is_dir() else [])
        if (match := STEP_FOLDER.fullmatch(path.name)) and path.is_dir()
    ]
    return sorted(found)


def is_run(folder: Path) -> bool:
    """Whether a training writes, or wrote, its checkpoints and its log here; evaluations lie in folders of such names.

    Raises:
        OSError: the folder may not be looked into.
    """
    return (folder / RUN_LOG).is_file() or any((path / MANIFEST).is_file() for _, path in list_checkpoints(folder))


def run_of(checkpoint: Path) -> Path:
    """The folder of the run that a checkpoint belongs to; the checkpoint itself where it was taken out of its run."""
    checkpoint = real_path(checkpoint)
    return checkpoint.parent if STEP_FOLDER.fullmatch(checkpoint.name) else checkpoint


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
    """The checkpoint that training marked as the best by validation, if one is marked and still there.

    Raises:
        CheckpointError: the mark is damaged: which one it was is not guessed.
    """
    mark = experiment_dir / BEST
    try:
        values = read_json(mark, allow_nan=True)
        name = values.get("checkpoint") if isinstance(values, dict) else None
        if not isinstance(name, str) or not STEP_FOLDER.fullmatch(name):
            raise ValueError("its 'checkpoint' is no checkpoint_step_<N>")
        path = place_inside(experiment_dir, name)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CheckpointError(
            f"{mark} is damaged ({in_one_line(reason, longest=200)}); name the checkpoint itself, or remove that file, "
            "and the latest one is taken"
        ) from None
    return path if path.is_dir() else None


class FoundCheckpoint(NamedTuple):
    """A checkpoint's folder, and a line that says how it was found where the user named something else."""

    folder: Path
    line: str | None


def find_checkpoint(path: str | Path, *, revision: str | None = None) -> FoundCheckpoint:
    """The checkpoint that a user means: by its own folder, a run's folder, an exported folder, or a hub id.

    Of a run it is the one marked as the best by validation, or the latest where none is marked or there any more.

    Args:
        path: a folder, `~` allowed, or `owner/name` on the Hugging Face hub where no such folder is here.
        revision: a branch, tag or commit of the hub repository.

    Raises:
        CheckpointError: there is none, in one line that says what is there.
    """
    text = str(path)
    if text == TINY_BACKBONE:
        raise CheckpointError(
            f"{text} is a backbone without a trained head; train one with it (`surestep demo`), then name its run"
        )
    if _ADDRESS.match(text):
        raise CheckpointError(
            f"{shown(text)} is an address; copy the checkpoint to a folder here and name that, or name a hub id "
            "(owner/name)"
        )
    folder = _expanded(Path(path))
    if folder.is_dir():
        if revision is not None:
            raise CheckpointError(f"{folder} is a folder here, which has no revision {shown(revision)}; drop revision")
        return _in_folder(folder)
    if folder.exists():
        raise CheckpointError(f"{folder} is a file; name the folder of the checkpoint that it belongs to")
    if isinstance(path, Path) or not _HUB_ID.fullmatch(text) or folder.parent.is_dir():
        raise CheckpointError(f"{folder}: no such checkpoint or run{_beside(folder)}")
    return FoundCheckpoint(fetch_from_hub(text, revision=revision), None)


def checkpoint_of_run(folder: Path) -> FoundCheckpoint | None:
    """The checkpoint that a run's folder stands for; None where `folder` is no run.

    Raises:
        CheckpointError: the mark of its best checkpoint is damaged.
    """
    if not folder.is_dir() or (folder / MANIFEST).is_file():
        return None
    return _in_folder(folder) if best_checkpoint(folder) is not None or list_checkpoints(folder) else None


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:  # the home of a user who is not known here
        return path


def _in_folder(folder: Path) -> FoundCheckpoint:
    if (folder / MANIFEST).is_file():
        return FoundCheckpoint(folder, None)
    if (best := best_checkpoint(folder)) is not None:
        return FoundCheckpoint(best, f"{folder} is a run: its best checkpoint by validation is {best.name}")
    if checkpoints := list_checkpoints(folder):
        latest = checkpoints[-1][1]
        why = "marked as best is not there any more" if (folder / BEST).is_file() else "is marked as best"
        which = "the one" if (folder / BEST).is_file() else "none"
        return FoundCheckpoint(latest, f"{folder} is a run: {which} {why}, so its latest is taken, {latest.name}")
    raise CheckpointError(f"{folder} holds no checkpoint (no {MANIFEST}){_within(folder)}")


def _within(folder: Path) -> str:
    """What else may have been meant, of a folder without a checkpoint."""
    if (folder.parent / MANIFEST).is_file():
        return f"; {folder.parent} is one"
    runs = sorted(path.name for path in folder.iterdir() if path.is_dir() and is_run(path))
    if runs:
        return f"; it holds the runs {', '.join(runs[:8])}: name one of them"
    if (folder / BEST).is_file():
        return f": {BEST} names one that is not there any more; restore it from a backup, or train again"
    if (folder / "config.json").is_file():
        return "; a language model becomes one by training: name it with `surestep train --backbone`"
    return "; name a run's folder, a checkpoint_step_<N> or an exported folder"


def _beside(folder: Path) -> str:
    try:
        names = sorted(path.name for path in folder.parent.iterdir() if (path / MANIFEST).is_file() or is_run(path))
    except OSError:
        names = []
    if names:
        return f"; {folder.parent} holds {', '.join(names[:8])}"
    return "; name a run's folder, a checkpoint_step_<N>, an exported folder or a hub id (owner/name)"

"""A run's folder: refused, resumed or replaced; its checkpoints kept and pruned; its disk space checked."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from surestep.config import TrainingConfig
from surestep.counted import counted
from surestep.disk import (
    OLD,
    PART,
    bring_back,
    leftovers,
    put_aside,
    real_path,
    remove_leftovers,
    remove_whole,
    restore_replaced,
)
from surestep.errors import ConfigError, StorageError
from surestep.files import BEST, CONFIG, DATA_REPORT, RUN_LOG, SIGN_OFFS, TRACKER_RUNS, storage_errors, write_json
from surestep.lock import LOCK
from surestep.model.confidence_model import ConfidenceModel
from surestep.scoring.checkpoint.find import list_checkpoints
from surestep.training.optimizer.averaged_weights import average_bytes
from surestep.training.optimizer.parameter_groups import moment_bytes

STATES_KEPT = 2
_OURS = {CONFIG, BEST, RUN_LOG, DATA_REPORT, "tensorboard", SIGN_OFFS, TRACKER_RUNS}


def refuse_existing(folder: Path, *, overwrite: bool) -> None:
    """Raise where the run's folder holds something, unless it may be replaced.

    Raises:
        ConfigError: it exists; the message names `--resume` and `--overwrite`.
    """
    if not folder.exists() or (folder.is_dir() and all(path.name == LOCK for path in folder.iterdir())):
        return
    if not overwrite:
        raise ConfigError(
            f"{folder} exists: continue with --resume, replace it with --overwrite, or choose another --experiment_name"
        )
    foreign = [path.name for path in folder.iterdir() if not _is_ours(path)] if folder.is_dir() else [folder.name]
    if foreign:
        raise ConfigError(
            f"{folder} holds files that no run wrote ({', '.join(sorted(foreign)[:3])}); --overwrite leaves such a "
            "folder alone: choose another --experiment_name"
        )


def _is_ours(path: Path) -> bool:
    name = path.name
    is_unfinished = name.startswith(".") and name.endswith((PART, OLD))  # left by a killed process
    return name in {*_OURS, LOCK} or is_unfinished or name.lstrip(".").startswith("checkpoint_step_")


def start_folder(folder: Path, *, overwrite: bool) -> None:
    """Make the run's folder, empty; with `overwrite` the former run is put aside first, and removed then.

    A kill leaves the former run or the new one: where it came between the two, `clean_folder` brings the former back.
    """
    with storage_errors(folder, "set --output_dir to a writable folder"):
        former = put_aside(real_path(folder)) if overwrite else None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if former is not None:
                remove_whole(former, beside=real_path(folder))  # half removed, it must not be brought back
        except OSError:
            if former is not None:
                with suppress(OSError):
                    folder.rmdir()
                bring_back(former, real_path(folder))
            raise


def restore_folder(folder: Path) -> list[str]:
    """Bring back what a killed process was about to replace and has no successor; returns a line for each.

    Only for whoever holds the run's lock.
    """
    folder = real_path(folder)
    said = []
    with storage_errors(folder, "set --output_dir to a writable folder"):
        if restore_replaced(folder):
            said.append(f"{folder}: a run was killed while it replaced the former one, which was brought back")
        for step in sorted({int(match[1]) for path in leftovers(folder) if (match := _STEP.match(path.name))}):
            if restore_replaced(folder / f"checkpoint_step_{step}"):
                said.append(f"checkpoint_step_{step} was being replaced when a run was killed; it was brought back")
    return said


def clean_folder(folder: Path, *others: Path) -> list[str]:
    """Remove what killed processes left unfinished or half removed in a run's folder, of it, or in `others` of its own.

    Returns a line where there was something.

    Only for whoever holds the run's lock, and after `restore_folder`.
    """
    folder = real_path(folder)
    found = [
        *leftovers(folder.parent, of=folder.name),
        *(path for place in (folder, *others) for path in leftovers(place)),
    ]
    found += [path for path in folder.glob(".checkpoint_step_*") if _EARLIER_LEFTOVER.fullmatch(path.name)]
    count = remove_leftovers(dict.fromkeys(found))
    return [f"{count} unfinished or half removed files and folders of a killed run were removed"] if count else []


_STEP = re.compile(r"\.checkpoint_step_(\d+)\.")
_EARLIER_LEFTOVER = re.compile(r"\.checkpoint_step_\d+(\.calibration\.json|\.manifest\.json)?\.(part|old)")
"""What was left before these names held a token."""


def prune(folder: Path, *, keep: int | None, best_step: int | None) -> list[str]:
    """Drop `training_state` of all but the last two checkpoints, and whole checkpoints beyond `keep`.

    The best and the last are always kept. Returns what was dropped, a line each.
    """
    checkpoints = list_checkpoints(folder)
    dropped = []
    for _, path in checkpoints[:-STATES_KEPT]:
        remove_whole(path / "training_state", beside=folder / f"{path.name}.training_state")
    if keep is not None:
        spare = [(step, path) for step, path in checkpoints if step != best_step]
        for step, path in spare[: max(len(spare) - keep, 0)]:
            remove_whole(path)
            dropped.append(f"checkpoint_step_{step} was deleted (save_total_limit {keep})")
    return dropped


def write_best(folder: Path, best: dict[str, Any]) -> None:
    """Mark the best checkpoint."""
    write_json(folder / BEST, best)


def check_space(folder: Path, training: TrainingConfig, model: ConfidenceModel) -> str | None:
    """Compare the checkpoints to come in a run's `folder` with the disk; returns a warning where not all of them fit.

    Raises:
        StorageError: not even one checkpoint and its training state fit.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    state = moment_bytes(model, training) + average_bytes(model, training.ema_decay)
    free = shutil.disk_usage(_existing_parent(folder)).free
    once = weights + state
    if free < once:
        raise StorageError(
            f"{folder.parent} has {_size(free)} free, one checkpoint takes {_size(once)}; free space "
            "or set --output_dir to another disk"
        )
    count = -(-training.max_steps // training.save_steps)
    if training.save_total_limit is not None:
        count = min(count, training.save_total_limit + 1)
    # Three states at once: the two that are kept, and the one being written.
    total = count * weights + min(count, STATES_KEPT + 1) * state
    if free >= total:
        return None
    return (
        f"the run's {counted(count, 'checkpoint takes', 'checkpoints take')} about {_size(total)}, {folder.parent} has "
        f"{_size(free)} free: set --save_total_limit or a larger --save_steps"
    )


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.2f} MB"


def _existing_parent(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path

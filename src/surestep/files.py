"""Writing files and folders whole or not at all, hashing them, and the names of the files that Surestep writes.

What is written lies beside its final place until it is on the disk, and is renamed then: whoever reads, also after a
kill, a power cut or with a full disk, finds the former content or the new one, never half of it. Knows no format beyond
text and JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from surestep.disk import REPLACED, advice_after, delete, name_beside, remove_whole, sync_folder, sync_tree
from surestep.errors import StorageError
from surestep.untrusted import open_regular

CONFIG = "config.json"
"""The full configuration of a run, also within each of its checkpoints."""
METRICS = "eval_metrics.json"
"""The figures of an evaluation; training's own, of the best checkpoint on validation, has the same name."""
RUN_LOG = "metrics.jsonl"
"""What training logged, a line each interval and validation."""
TRACKER_RUNS = "trackers.json"
"""The run's own names in experiment trackers, by which resuming goes on there."""
PREDICTIONS = "predictions.jsonl.gz"
"""Every scored step of an evaluation, a line each."""
BEST = "best_checkpoint.json"
"""Which checkpoint of a run is the best by validation."""
CALIBRATION = "calibration.json"
"""The calibration maps of a checkpoint."""
CERTIFICATE = "certificate.json"
"""What a checkpoint promises of new problems, and the calibration behind it."""
MONITOR = "monitor.json"
"""The same of solutions that run: when they are stopped."""
SELECTIVE = "selective.json"
"""The same of what is handed out: which finished solutions are."""
CERTIFICATES = (CERTIFICATE, MONITOR, SELECTIVE)
"""Each is one promise, on its own terms; a checkpoint may have all of them."""
MANIFEST = "manifest.json"
"""Sizes and hashes of a checkpoint's files, and the versions that made it."""
AVERAGED_FROM = "averaged_from.json"
"""In a checkpoint whose weights are the mean of others': which ones."""
DATA_REPORT = "data_report.json"
"""What a run reads: its datasets, their shares, and what limits and hold-outs cost."""
SIGN_OFFS = "sign_offs.json"
"""What people signed for: that the errors of a run were read, that a backup exists."""
REPORT = "report.html"
"""The page of an evaluation."""
PLOTS = "plots"
"""The folder of the page's charts as PNG."""
CARD = "MODEL_CARD.md"
"""The model card of an evaluation."""

OUTPUT_ADVICE = "free space or choose another --output_dir"
"""What mends a failed write among a run's results."""
PAGE_ADVICE = "free space or change its permissions"
"""What mends a failed write into a folder that the user named because results lie there."""

_BLOCK = 2**20
_RACY_NS = 2_000_000_000
_hashes: dict[tuple[int, int, int, int, int], str] = {}


@contextmanager
def storage_errors(path: Path, advice: str = OUTPUT_ADVICE) -> Iterator[None]:
    """Within it, the system's refusal to write below `path` is one `StorageError` that names it.

    Args:
        path: the file or folder that is written.
        advice: how to mend it, put at the end of the message (`advice_after`).

    Raises:
        StorageError: a full disk, a missing permission, a file where a folder is needed.
    """
    try:
        yield
    except OSError as error:
        mend = advice_after(error, advice)
        raise StorageError(f"{path} cannot be written ({error.strerror or error}); {mend}") from None


def place_of(path: Path) -> Path:
    """Where `path` lies: a symbolic link that the user made stays one, and what it points to is written.

    A link of another user, which may lie in wait in a shared folder, is replaced, and so is one to a device or a pipe.
    """
    if not path.is_symlink() or (hasattr(os, "geteuid") and path.lstat().st_uid != os.geteuid()):
        return path
    target = Path(os.path.realpath(path))
    return target if target.is_file() or target.is_dir() or not os.path.lexists(target) else path


@contextmanager
def write_whole(path: Path, mode: str = "w", *, advice: str = OUTPUT_ADVICE) -> Iterator[IO[Any]]:
    """A file open for writing beside `path`, which takes its place when the block ends without an error.

    Missing folders are made. After an error `path` is as it was, and nothing is left beside it. Within
    `written_together` it takes its place when that ends. A symbolic link is followed (`place_of`).

    Args:
        path: the final place.
        mode: "w" for UTF-8 text, "wb" for bytes.
        advice: how to mend a failed write.

    Raises:
        StorageError: the file cannot be written.
    """
    path = place_of(path)
    beside = name_beside(path)
    with storage_errors(path, advice), _placed_or_removed(beside, path, advice):
        path.parent.mkdir(parents=True, exist_ok=True)
        is_text = "b" not in mode
        with beside.open(mode, encoding="utf-8" if is_text else None, newline="" if is_text else None) as file:
            yield file
            file.flush()
            # A rename may reach the disk before the content does: after a power cut the file would be empty.
            os.fsync(file.fileno())


def write_text(path: Path, text: str, *, advice: str = OUTPUT_ADVICE) -> None:
    """Make `text` the whole content of `path`.

    Raises:
        StorageError: the file cannot be written.
    """
    with write_whole(path, advice=advice) as file:
        file.write(text)


def write_json(
    path: Path, values: Mapping[str, Any] | list[Any], *, ascii_only: bool = True, advice: str = OUTPUT_ADVICE
) -> None:
    """Make `values` the whole content of `path`, as JSON that every reader takes (no NaN, no infinity).

    Raises:
        StorageError: the file cannot be written.
        ValueError: a number is not finite.
    """
    write_text(path, json.dumps(values, indent=2, allow_nan=False, ensure_ascii=ascii_only) + "\n", advice=advice)


@contextmanager
def write_folder_whole(folder: Path, *, replace: bool = False, advice: str = OUTPUT_ADVICE) -> Iterator[Path]:
    """A new folder beside `folder`, which takes its name when the block ends without an error.

    Within `written_together` it does so when that ends. A symbolic link is followed (`place_of`).

    Args:
        folder: the final place.
        replace: take the place of a folder that is there; else that is an error, unless it is empty.
        advice: how to mend a failed write.

    Raises:
        StorageError: it cannot be written, or is there already.
    """
    folder = place_of(folder)
    beside = name_beside(folder)
    with storage_errors(folder, advice), _placed_or_removed(beside, folder, advice, replace=replace):
        beside.mkdir(parents=True)
        yield beside
        sync_tree(beside)


@dataclass(frozen=True)
class _Placement:
    """What was written whole and waits beside its place; `beside` is None where the place is to be empty."""

    beside: Path | None
    place: Path
    advice: str
    replace: bool


class WrittenTogether:
    """What was written whole so far and waits for the rest (`written_together`)."""

    def __init__(self) -> None:
        self.placements: list[_Placement] = []

    def unplaced(self, place: Path) -> Path:
        """Where that lies now which will take `place`."""
        place = place_of(place)
        return next(p.beside for p in reversed(self.placements) if p.place == place and p.beside is not None)

    def remove(self, path: Path, *, advice: str = OUTPUT_ADVICE) -> None:
        """Remove the file `path`, if it is there, when the rest takes its place."""
        self.placements.append(_Placement(None, place_of(path), advice, replace=True))

    def drop(self) -> None:
        """Remove what waits."""
        for placement in self.placements:
            if placement.beside is not None:
                delete(placement.beside)


_together: ContextVar[WrittenTogether | None] = ContextVar("written_together", default=None)


@contextmanager
def written_together() -> Iterator[WrittenTogether]:
    """What is written whole within this block takes its place only when all of it is on the disk: all or none.

    Files and folders are put in place in the order in which they were written; a reader that comes after a kill
    between two of them finds the first ones new, so the last one should say what belongs to it. If one cannot be put
    in place, those before it are taken back. Within another such block, all waits for the outer one.

    Raises:
        StorageError: one cannot be written or put in place; everything is as it was.
    """
    if (outer := _together.get()) is not None:
        yield outer
        return
    group = WrittenTogether()
    token = _together.set(group)
    try:
        yield group
    except BaseException:
        group.drop()
        raise
    finally:
        _together.reset(token)
    _place_all(group)


@contextmanager
def _placed_or_removed(beside: Path, place: Path, advice: str, *, replace: bool = True) -> Iterator[None]:
    """Put what the block wrote in its place, at once or with what is written together; after an error remove it."""
    try:
        yield
        waiting = _together.get()
        group = waiting or WrittenTogether()
        group.placements.append(_Placement(beside, place, advice, replace))
        if waiting is None:
            _place_all(group)
    except BaseException:
        delete(beside)
        raise


def _place_all(group: WrittenTogether) -> None:
    """Put all in place, or leave everything as it was."""
    placements = group.placements
    done: list[tuple[Path, Path | None]] = []
    try:
        for placement in placements:
            with storage_errors(placement.place, placement.advice):
                done.append((placement.place, _put(placement, keeps_former=len(placements) > 1)))
        for parent in {placement.place.parent for placement in placements}:
            sync_folder(parent)
    except BaseException:
        for place, former in reversed(done):
            if former is None or former.is_dir():
                delete(place)
            if former is not None:
                former.replace(place)
        group.drop()
        raise
    for place, former in done:
        if former is not None and former.is_dir():
            with suppress(OSError):
                remove_whole(former, beside=place)  # half removed, it is no longer one that could be brought back
        elif former is not None:
            delete(former)


def _put(placement: _Placement, *, keeps_former: bool) -> Path | None:
    """Rename into place; gives where the former content lies now, None where it is gone or there was none."""
    beside, place = placement.beside, placement.place
    former = name_beside(place, REPLACED)
    if beside is None:
        with suppress(FileNotFoundError):
            place.rename(former)
            return former
        return None
    if not (place.is_dir() and placement.replace if beside.is_dir() else place.is_file() and keeps_former):
        beside.replace(place)
        return None
    if beside.is_dir():
        place.rename(former)
    else:
        try:
            os.link(place, former)  # the place is never empty
        except OSError:
            place.rename(former)
    try:
        beside.replace(place)
    except BaseException:
        if place.exists():  # a second name of it: renaming one to the other would do nothing
            delete(former)
        else:
            former.replace(place)
        raise
    return former


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal.

    A process reads a file once: the hash is remembered by the file's identity, size and times, except where it was
    written so lately that another change might leave its times as they are.

    Raises:
        OSError: the file cannot be read, or is a folder, a pipe or a device.
    """
    with open_regular(path) as file:
        status = os.fstat(file.fileno())
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if key in _hashes:
            return _hashes[key]
        begun = time.time_ns()
        digest = hashlib.sha256()
        while block := file.read(_BLOCK):
            digest.update(block)
    if max(status.st_mtime_ns, status.st_ctime_ns) + _RACY_NS < begun:
        _hashes[key] = digest.hexdigest()
    return digest.hexdigest()

"""Writing files and folders whole or not at all, removing them likewise, and the names of the files Surestep writes.

What is written lies beside its final place until it is on the disk, and is renamed then: whoever reads, also after a
kill, a power cut or with a full disk, finds the former content or the new one, never half of it. What is removed is
renamed first, so that half of it never has its name. Knows no format beyond text and JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import IO, Any

from surestep.errors import StorageError

CONFIG = "config.json"
"""The full configuration of a run, also within each of its checkpoints."""
METRICS = "eval_metrics.json"
"""The figures of an evaluation; training's own, of the best checkpoint on validation, has the same name."""
RUN_LOG = "metrics.jsonl"
"""What training logged, a line each interval and validation."""
PREDICTIONS = "predictions.jsonl.gz"
"""Every scored step of an evaluation, a line each."""
BEST = "best_checkpoint.json"
"""Which checkpoint of a run is the best by validation."""
CALIBRATION = "calibration.json"
"""The calibration maps of a checkpoint."""
MANIFEST = "manifest.json"
"""Sizes and hashes of a checkpoint's files, and the versions that made it."""
SIGN_OFFS = "sign_offs.json"
"""What people signed for: that the errors of a run were read, that a backup exists."""
REPORT = "report.html"
"""The page of an evaluation."""
CARD = "MODEL_CARD.md"
"""The model card of an evaluation."""

PART = ".part"
"""What the name of an unfinished file or folder ends with; one that a killed process left may be removed."""
OLD = ".old"
"""What the name of a file or folder ends with that is being removed; one that a killed process left may be removed."""
_REPLACED = f".replaced{OLD}"
"""The same, of one in whose place another is being put: until that is there, it is the only one."""
_LEFTOVER = re.compile(r"\.(.+)\.[0-9a-f]{12}(?:\.part|\.old|\.replaced\.old)")

OUTPUT_ADVICE = "free space or choose another --output_dir"
"""What mends a failed write among a run's results."""

_BLOCK = 2**20
_RACY_NS = 2_000_000_000
_hashes: dict[tuple[int, int, int, int, int], str] = {}


@contextmanager
def storage_errors(path: Path, advice: str = OUTPUT_ADVICE) -> Iterator[None]:
    """Within it, the system's refusal to write below `path` is one `StorageError` that names it.

    Args:
        path: the file or folder that is written.
        advice: how to mend it, put at the end of the message.

    Raises:
        StorageError: a full disk, a missing permission, a file where a folder is needed.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} cannot be written ({error.strerror or error}); {advice}") from None


@contextmanager
def write_whole(path: Path, mode: str = "w", *, advice: str = OUTPUT_ADVICE) -> Iterator[IO[Any]]:
    """A file open for writing beside `path`, which takes its place when the block ends without an error.

    Missing folders are made. After an error `path` is as it was, and nothing is left beside it. Within
    `written_together` it takes its place when that ends.

    Args:
        path: the final place.
        mode: "w" for UTF-8 text, "wb" for bytes.
        advice: how to mend a failed write.

    Raises:
        StorageError: the file cannot be written.
    """
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

    Within `written_together` it does so when that ends.

    Args:
        folder: the final place.
        replace: take the place of a folder that is there; else that is an error, unless it is empty.
        advice: how to mend a failed write.

    Raises:
        StorageError: it cannot be written, or is there already.
    """
    beside = name_beside(folder)
    with storage_errors(folder, advice), _placed_or_removed(beside, folder, advice, replace=replace):
        beside.mkdir(parents=True)
        yield beside
        sync_tree(beside)


@dataclass(frozen=True)
class _Placement:
    """What was written whole and waits beside its place."""

    beside: Path
    place: Path
    advice: str
    replace: bool


class WrittenTogether:
    """What was written whole so far and waits for the rest (`written_together`)."""

    def __init__(self) -> None:
        self.placements: list[_Placement] = []

    def unplaced(self, place: Path) -> Path:
        """Where that lies now which will take `place`."""
        return next(placement.beside for placement in reversed(self.placements) if placement.place == place)


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
        for placement in group.placements:
            _delete(placement.beside)
        raise
    finally:
        _together.reset(token)
    _place_all(group.placements)


@contextmanager
def _placed_or_removed(beside: Path, place: Path, advice: str, *, replace: bool = True) -> Iterator[None]:
    """Put what the block wrote in its place, at once or with what is written together; after an error remove it."""
    try:
        yield
        placement = _Placement(beside, place, advice, replace)
        if (waiting := _together.get()) is not None:
            waiting.placements.append(placement)
        else:
            _place_all([placement])
    except BaseException:
        _delete(beside)
        raise


def _place_all(placements: list[_Placement]) -> None:
    done: list[tuple[_Placement, Path | None]] = []
    try:
        for placement in placements:
            with storage_errors(placement.place, placement.advice):
                done.append((placement, _put(placement, keeps_former=len(placements) > 1)))
        for parent in {placement.place.parent for placement in placements}:
            sync_folder(parent)
    except BaseException:
        for placement, former in reversed(done):
            _delete(placement.place)
            if former is not None:
                former.rename(placement.place)
        for placement in placements:
            _delete(placement.beside)
        raise
    for _, former in done:
        if former is not None:
            _delete(former)


def _put(placement: _Placement, *, keeps_former: bool) -> Path | None:
    """Rename into place; gives where the former content lies now, None where it is gone or there was none."""
    beside, place = placement.beside, placement.place
    former = name_beside(place, _REPLACED)
    if not beside.is_dir():
        if not (keeps_former and place.is_file()):
            beside.replace(place)
            return None
        try:
            os.link(place, former)  # the place is never empty
        except OSError:
            place.rename(former)
        try:
            beside.replace(place)
        except OSError:
            former.replace(place)
            raise
        return former
    if not placement.replace or not place.is_dir():
        beside.rename(place)
        return None
    place.rename(former)
    try:
        beside.rename(place)
    except OSError:
        former.rename(place)
        raise
    return former


def remove_whole(path: Path, *, beside: Path | None = None) -> None:
    """Remove a file or folder: it loses its name at once, whatever becomes of its content.

    Args:
        path: what to remove; nothing happens where it is not there.
        beside: what it is put beside first, under that name: a folder above, where nothing may lie beside `path`.

    Raises:
        OSError: it cannot be renamed; it is whole then.
    """
    aside = name_beside(beside or path, OLD)
    with suppress(FileNotFoundError):
        path.rename(aside)
        sync_folder(path.parent)
        _delete(aside)


def put_aside(folder: Path) -> Path | None:
    """Rename a folder, so that another can take its place; gives its new name, None where it is not there.

    Until there is another, `restore_replaced` brings it back.

    Raises:
        OSError: it cannot be renamed.
    """
    aside = name_beside(folder, _REPLACED)
    try:
        folder.rename(aside)
    except FileNotFoundError:
        return None
    sync_folder(folder.parent)
    return aside


def restore_replaced(place: Path) -> bool:
    """Where a process was killed while it put something in `place` of another, bring that other one back.

    Only for whoever may write there: call it while holding the lock.
    """
    if place.exists() or not place.parent.is_dir():
        return False
    for former in sorted(place.parent.glob(f".{escape(place.name)}.*{_REPLACED}")):
        if _LEFTOVER.fullmatch(former.name):
            former.rename(place)
            sync_folder(place.parent)
            return True
    return False


def leftovers(folder: Path, *, of: str | None = None) -> list[Path]:
    """What killed processes left in `folder`, unfinished or half removed; `of` asks for one name's only."""
    return sorted(
        path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := _LEFTOVER.fullmatch(path.name)) and of in {None, match[1]}
    )


def remove_leftovers(paths: Iterable[Path]) -> int:
    """Remove them; how many are gone. Only for whoever holds the lock of what they were made for."""
    count = 0
    for path in paths:
        _delete(path)
        count += not path.exists()
    return count


def sync_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk; without effect where the system cannot do that."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def sync_tree(folder: Path) -> None:
    """Wait until every file below `folder`, and every name, is on the disk.

    Raises:
        OSError: the disk is full, or broken.
    """
    for where, _, names in os.walk(folder, topdown=False):
        for name in names:
            number = os.open(Path(where, name), os.O_RDONLY)
            try:
                os.fsync(number)
            finally:
                os.close(number)
        sync_folder(Path(where))


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def name_beside(path: Path, ending: str = PART) -> Path:
    """A new hidden name beside `path` for what is unfinished or about to go."""
    # Process ids come again in containers and on machines that share the folder.
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}{ending}")


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal.

    A process reads a file once: the hash is remembered by the file's identity, size and times, except where it was
    written so lately that another change might leave its times as they are.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
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

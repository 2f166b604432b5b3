"""Writing files whole or not at all, hashing them, and the names of the files that Surestep writes.

Every file is written beside its final place and renamed: whoever reads, also after a kill or with a full disk,
finds the former content or the new one, never half of it. Knows no format beyond text and JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from surestep.errors import StorageError
from surestep.untrusted import open_regular

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
PLOTS = "plots"
"""The folder of the page's charts as PNG."""
CARD = "MODEL_CARD.md"
"""The model card of an evaluation."""

PART = ".part"
"""What the name of an unfinished file or folder ends with; one that a killed process left may be removed."""

OUTPUT_ADVICE = "free space or choose another --output_dir"
"""What mends a failed write among a run's results."""
PAGE_ADVICE = "free space or change its permissions"
"""What mends a failed write into a folder that the user named because results lie there."""

_BLOCK = 2**20
_RACY_NS = 2_000_000_000
_hashes: dict[tuple[int, int, int, int, int], str] = {}


@contextmanager
def storage_errors(path: Path, advice: str = OUTPUT_ADVICE, *, what: str = "") -> Iterator[None]:
    """Within it, the system's refusal to write below `path` is one `StorageError` that names it.

    Args:
        path: the file or folder that is written.
        advice: how to mend it, put at the end of the message.
        what: what it is, where the path alone does not tell a user.

    Raises:
        StorageError: a full disk, a missing permission, a file where a folder is needed.
    """
    try:
        yield
    except OSError as error:
        named = f"{path}: {what}" if what else str(path)
        raise StorageError(f"{named} cannot be written ({error.strerror or error}); {advice}") from None


@contextmanager
def write_whole(path: Path, mode: str = "w", *, advice: str = OUTPUT_ADVICE) -> Iterator[IO[Any]]:
    """A file open for writing beside `path`, which takes its place when the block ends without an error.

    Missing folders are made. After an error `path` is as it was, and nothing is left beside it.

    Args:
        path: the final place.
        mode: "w" for UTF-8 text, "wb" for bytes.
        advice: how to mend a failed write.

    Raises:
        StorageError: the file cannot be written.
    """
    beside = _beside(path)
    with storage_errors(path, advice):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            is_text = "b" not in mode
            with beside.open(mode, encoding="utf-8" if is_text else None, newline="" if is_text else None) as file:
                yield file
                file.flush()
                # A rename may reach the disk before the content does: after a power cut the file would be empty.
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


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
def write_folder_whole(
    folder: Path,
    *,
    advice: str = OUTPUT_ADVICE,
    what: str = "",
    is_already_there: Callable[[], bool] = lambda: False,
) -> Iterator[Path]:
    """A new folder beside `folder`, which takes its name when the block ends without an error.

    An existing `folder` is an error unless it is empty: nothing is replaced.

    Args:
        folder: the final place.
        advice: how to mend a failed write.
        what: see `storage_errors`.
        is_already_there: asked where the name is taken: whether that is the same work, finished by another process
            first. Then this one's is dropped.

    Raises:
        StorageError: it cannot be written, or is there already.
    """
    beside = _beside(folder)
    with storage_errors(folder, advice, what=what):
        try:
            beside.mkdir(parents=True)
            yield beside
            try:
                beside.rename(folder)
            except OSError:
                if not is_already_there():
                    raise
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def _beside(path: Path) -> Path:
    # Process ids come again in containers and on machines that share the folder.
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}{PART}")


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

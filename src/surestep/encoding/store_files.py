"""The files of a token store: hashed as they are written, compared when they are opened, and what killed runs left.

A store that is opened is, byte for byte, the one that was written: sizes and SHA-256 of all its files stand in
`meta.json`, with one of `meta.json` itself, and each process compares them at its first opening (`files.sha256_of`
remembers the rest). That costs as much time as reading the files once. What changes a file after that goes unseen.

An unfinished store is a folder `<name>.<random>.part` beside its final place, locked by the process that writes it, so
that one without a living writer is known. Knows files; knows no tree.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from surestep.counted import counted
from surestep.disk import PART, delete
from surestep.files import sha256_of
from surestep.untrusted import open_regular, read_json

META = "meta.json"
_LOCK = "writing.lock"
_OWN_HASH = "meta_sha256"
_OLD_S = 6 * 3600
"""Seconds without a write after which an unfinished store is nobody's, where no lock can tell."""


class DamagedStoreError(Exception):
    """A store's file is missing, cut or changed; the message says which. Caught where the store can be made anew."""


class HashedFile:
    """A file open for writing that hashes what goes through it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._digest, self._size = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        """Append `data`."""
        self._file.write(data)
        self._digest.update(data)
        self._size += len(data)

    def entry(self) -> dict[str, Any]:
        """Size and SHA-256 of all that was written."""
        return {"size": self._size, "sha256": self._digest.hexdigest()}


def meta_text(values: Mapping[str, Any], files: Mapping[str, HashedFile]) -> str:
    """The content of `meta.json`: `values`, what `files` hold, and a hash of both."""
    meta = {**values, "files": {name: file.entry() for name, file in files.items()}}
    return json.dumps({**meta, _OWN_HASH: _hash_of(meta)})


def read_whole_store(folder: Path, *, version: int, names: list[str]) -> dict[str, Any]:
    """What `meta.json` says, after all files of the store were compared with it.

    Raises:
        DamagedStoreError: a file is missing, cut or changed, or cannot be read.
    """
    try:
        meta: dict[str, Any] = read_json(folder / META, allow_nan=True)
        own = meta.pop(_OWN_HASH, None)
        if own != _hash_of(meta) or meta.get("version") != version or sorted(meta["files"]) != sorted(names):
            raise DamagedStoreError(f"{META} has changed")
        for name, expected in meta["files"].items():
            size = (folder / name).stat().st_size
            if size != expected["size"]:
                raise DamagedStoreError(f"{name} has {counted(size, 'byte')} instead of {expected['size']:,}")
        for name, expected in meta["files"].items():
            if sha256_of(folder / name) != expected["sha256"]:
                raise DamagedStoreError(f"{name} has changed")
    except FileNotFoundError as error:
        raise DamagedStoreError(f"{Path(error.filename).name} is missing") from None
    except (OSError, ValueError, AttributeError, TypeError, KeyError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "it cannot be parsed"
        raise DamagedStoreError(
            f"{Path(getattr(error, 'filename', None) or META).name} cannot be read ({reason})"
        ) from None
    return meta


def _hash_of(meta: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


@contextmanager
def unfinished(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder` to write it in, locked by this process; whatever is left there is removed.

    Raises:
        OSError: it cannot be made.
    """
    # Process ids come again in containers and on other machines that share the folder.
    beside = folder.with_name(f"{folder.name}.{secrets.token_hex(6)}{PART}")
    beside.mkdir(parents=True)
    try:
        with (beside / _LOCK).open("wb") as lock:
            with suppress(OSError):  # a file system without locks: its age will tell
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # A network's locks may reach no other machine, so a free one says something on this machine only.
                lock.write(socket.gethostname().encode())
                lock.flush()
            yield beside
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def put_in_place(beside: Path, folder: Path) -> bool:
    """Give the finished store in `beside` its name; False where something of that name is there already.

    Raises:
        OSError: the folder cannot be written.
    """
    (beside / _LOCK).unlink(missing_ok=True)
    try:
        beside.rename(folder)
    except OSError:
        if not folder.exists():
            raise
        return False
    return True


def remove_damaged(folder: Path) -> None:
    """Take a damaged store out of the way, all at once; whoever has it mapped keeps its bytes until they close it.

    Raises:
        OSError: it cannot be renamed.
    """
    aside = folder.with_name(f"{folder.name}.{secrets.token_hex(6)}{PART}")
    with suppress(FileNotFoundError):
        folder.rename(aside)
    delete(aside)


def remove_abandoned(parent: Path) -> list[Path]:
    """Remove the unfinished stores in `parent` that no process writes any more; returns which.

    One is abandoned where its lock is free. Without a lock to tell (an earlier Surestep, another machine, a file system
    without locks), where nothing in it has changed for six hours.
    """
    removed = []
    for folder in sorted(parent.glob(f"*{PART}")):
        if _is_abandoned(folder):
            delete(folder)
            removed.append(folder)
    return removed


def _is_abandoned(folder: Path) -> bool:
    try:
        paths = [folder, *folder.iterdir()] if folder.is_dir() else [folder]
        is_old = time.time() - max(path.lstat().st_mtime for path in paths) > _OLD_S
        if folder / _LOCK not in paths:
            return is_old  # or begun a moment ago
        with open_regular(folder / _LOCK) as lock:
            if lock.read() != socket.gethostname().encode():
                return is_old
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:
                return is_old
            return True
    except OSError:  # its writer finished or removed it meanwhile
        return False

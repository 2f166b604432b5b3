"""The unfinished file of a download: one process writes it, it is a file and nothing else, and it is found again.

Knows the disk; knows no address.
"""

from __future__ import annotations

import fcntl
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from surestep.errors import DownloadError


class PartFile:
    """A file to which a download is added, or which it begins anew.

    Attributes:
        path: where it lies.
        size: its bytes so far.
    """

    def __init__(self, path: Path, file: io.FileIO) -> None:
        self.path = path
        self._file = file
        self.size = os.fstat(file.fileno()).st_size

    def go_on_from(self, size: int) -> None:
        """Keep the first `size` bytes; what is written follows them."""
        self._file.truncate(size)
        self._file.seek(size)
        self.size = size

    def write(self, chunk: bytes) -> None:
        """Add `chunk`."""
        rest = memoryview(chunk)
        while rest:  # the system may take less than all, just before the disk is full
            written = self._file.write(rest) or 0
            self.size += written
            rest = rest[written:]

    def put_in_place(self, target: Path) -> None:
        """Give it its final name, once all of it is on the disk."""
        os.fsync(self._file.fileno())
        os.replace(self.path, target)


@contextmanager
def open_part(path: Path, *, keep: bool) -> Iterator[PartFile]:
    """`path` open for writing, by nobody else; an empty one does not stay.

    Args:
        path: the unfinished file, made if it is not there.
        keep: whether what was written stays after an error, to go on from.

    Raises:
        DownloadError: it is a link, a pipe or a folder, or has another name too, or another process writes it.
        OSError: the disk refuses.
    """
    what = _what_else(path)
    if what:
        raise DownloadError(f"{path} is {what}, not the part of a download: remove it; nothing was changed")
    # Nothing waits here, should the file become a link or a pipe between the look and the opening.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    with io.FileIO(descriptor, "r+b") as file:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_it = os.path.samestat(os.fstat(descriptor), os.lstat(path))
        except (BlockingIOError, FileNotFoundError):
            is_it = False
        # The other process may have put it in place between our opening and locking it: then it is the finished file.
        if not is_it:
            raise DownloadError(f"{path} is being written by another process; wait for it, then run the command again")
        part = PartFile(path, file)
        is_done = False
        try:
            yield part
            is_done = True
        finally:
            if not is_done and (not keep or not os.fstat(descriptor).st_size):
                path.unlink(missing_ok=True)


def _what_else(path: Path) -> str:
    """What `path` is if not a file of one name; "" for that, and where nothing is there."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return ""
    if stat.S_ISLNK(status.st_mode):
        return "a link"
    if stat.S_ISDIR(status.st_mode):
        return "a folder"
    if not stat.S_ISREG(status.st_mode):
        return "a pipe, a socket or a device"
    return "a file with a second name" if status.st_nlink > 1 else ""

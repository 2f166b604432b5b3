"""Files that are files, at places that stay inside their folder."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from surestep.untrusted.bounds import shown

LONGEST_NAME = 255
"""Bytes of a file's name on the usual file systems; asked about a longer one, the system does not say no but fails."""


def open_regular(path: Path) -> BinaryIO:
    """`path` open for reading, if it is a file: a pipe would wait for ever, a device never end.

    Raises:
        OSError: it is not there, may not be read, or is a folder, a pipe, a socket or a device.
    """
    try:
        # Without O_NONBLOCK opening a pipe waits for whoever writes to it; regular files know no such wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, str(error), str(path)) from None
    except OSError as error:
        if error.errno in {errno.ENXIO, errno.ENODEV}:
            raise OSError(errno.EINVAL, "it is a socket or a device, not a file", str(path)) from None
        raise
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return open(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    kind = "a pipe" if stat.S_ISFIFO(mode) else "a device"
    raise OSError(errno.EINVAL, f"it is {kind}, not a file", str(path))


def place_inside(folder: Path, name: str) -> Path:
    """The path of the file `name` below `folder`, wherever its links lead.

    Raises:
        ValueError: the name is absolute, climbs out with `..`, or follows a link out of the folder.

    >>> place_inside(Path("run"), "adapter/weights.safetensors").as_posix()
    'run/adapter/weights.safetensors'
    """
    relative_name(name)
    path = folder / name
    if os.path.commonpath([root := os.path.realpath(folder), os.path.realpath(path)]) != root:
        raise ValueError(f"{shown(name)} is a link out of the folder; put the file itself there")
    return path


def relative_name(name: str) -> str:
    """`name` itself, where it is a path below a folder, written in one way.

    Raises:
        ValueError: it is empty, absolute, or has a part `.` or `..`, a backslash or a NUL, or no file can be called so.
    """
    parts = name.split("/")
    is_too_long = len(name) > 1024 or any(len(os.fsencode(part)) > LONGEST_NAME for part in parts)
    if is_too_long or "\0" in name or "\\" in name or any(part in {"", ".", ".."} for part in parts):
        raise ValueError(f"{shown(name)} is no file below the folder; allowed: names without .., / at the start or \\")
    return name

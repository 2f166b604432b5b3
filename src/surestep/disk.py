"""Removing files and folders whole, what killed processes left, waiting for the disk, and what mends its refusals.

What is removed is renamed first, so that half of it never has its name. What is unfinished, or about to go, lies beside
its place under a hidden name with a random token; only such names are ever cleaned up. Knows no format and no run.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterable
from contextlib import suppress
from glob import escape
from pathlib import Path

PART = ".part"
"""What the name of an unfinished file or folder ends with; one that a killed process left may be removed."""
OLD = ".old"
"""What the name of a file or folder ends with that is being removed; one that a killed process left may be removed."""
REPLACED = f".replaced{OLD}"
"""The same, of one in whose place another is being put: until that is there, it is the only one."""
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""A full disk, a used-up quota, a file-size limit: raised by a write, which knows no file name."""
_LEFTOVER = re.compile(r"\.(.+)\.[0-9a-f]{12}(?:\.part|\.old|\.replaced\.old)")


def advice_after(error: Exception, advice: str) -> str:
    """How to mend a refused write: "free space or ..." without its first half where no space is missing.

    >>> advice_after(OSError(errno.ENOSPC, ""), "free space or choose another --output_dir")
    'free space or choose another --output_dir'
    >>> advice_after(OSError(errno.ENOENT, ""), "free space or choose another --output_dir")
    'choose another --output_dir'
    """
    is_other = isinstance(error, OSError) and error.errno not in FULL
    return advice.removeprefix("free space or ") if is_other else advice


def real_path(path: Path) -> Path:
    """Where `path` really is, links followed; not there is no error, nor is a link that leads to itself.

    `Path.resolve` raises an error of no file over the latter, up to Python 3.12.
    """
    return Path(os.path.realpath(path))


def name_beside(path: Path, ending: str = PART) -> Path:
    """A new hidden name beside `path` for what is unfinished or about to go."""
    # Process ids come again in containers and on machines that share the folder.
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}{ending}")


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
        delete(aside)


def put_aside(folder: Path) -> Path | None:
    """Rename a folder, so that another can take its place; gives its new name, None where it is not there.

    Until there is another, `restore_replaced` brings it back.

    Raises:
        OSError: it cannot be renamed.
    """
    aside = name_beside(folder, REPLACED)
    try:
        folder.rename(aside)
    except FileNotFoundError:
        return None
    sync_folder(folder.parent)
    return aside


def bring_back(former: Path, place: Path) -> None:
    """Give what was put aside its place again, which is free.

    Raises:
        OSError: it cannot be renamed; it is whole, under the name that it has.
    """
    former.rename(place)
    sync_folder(place.parent)


def restore_replaced(place: Path) -> bool:
    """Where a process was killed while it put something in `place` of another, bring that other one back.

    Only for whoever may write there: call it while holding the lock.
    """
    if place.exists() or not place.parent.is_dir():
        return False
    for former in sorted(place.parent.glob(f".{escape(place.name)}.*{REPLACED}")):
        if _LEFTOVER.fullmatch(former.name):
            bring_back(former, place)
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
        delete(path)
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


def delete(path: Path) -> None:
    """Remove a file or folder that nobody asks for by name, as far as the system allows; not following links."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)

"""A folder of results while something is written there: one writer at a time, and what killed ones left is removed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from surestep.disk import leftovers, remove_leftovers
from surestep.files import PLOTS
from surestep.lock import locked


@contextmanager
def locked_results(folder: Path, *, command: str, advice: str) -> Iterator[list[str]]:
    """Hold the lock of a folder of results, which need not exist; gives lines about what a killed process left there.

    Args:
        folder: where results go.
        command: what is being done, for those who are refused.
        advice: what they can do.

    Raises:
        LockedError: another process writes there.
        StorageError: the lock cannot be written.
    """
    with locked(folder, command=command, advice=advice) as said:
        count = remove_leftovers([*leftovers(folder), *leftovers(folder / PLOTS)])
        removed = [f"{count} unfinished or half removed files of a killed process were removed"] if count else []
        yield [*([] if said is None else [said]), *removed]

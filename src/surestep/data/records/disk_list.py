"""Values parked in a temporary file, because they are needed again in another order and are too many to hold.

What stays in memory is 8 bytes a value, and the first few megabytes. Values are what JSON holds; tuples come back as
lists.
"""

from __future__ import annotations

import json
import os
import tempfile
from array import array
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import orjson

from surestep.disk import advice_after
from surestep.errors import StorageError

IN_MEMORY = 16 * 2**20
"""Bytes that are held before a file is begun, so that a small dataset never touches the disk."""

_Result = TypeVar("_Result")


class DiskList(Sequence[Any]):
    """Grows at its end and is read at any place; gone with the object, whatever happens to the process.

    Raises:
        StorageError: the folder for temporary files is full or cannot be written.

    >>> kept = DiskList()
    >>> kept.append(("a", 1)), kept.append(None), kept[0], len(kept)
    (None, None, ['a', 1], 2)
    """

    def __init__(self) -> None:
        # Closed when the last reference goes, as any file object; the name is removed as soon as it is opened.
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115
        self._starts = array("q", [0])
        self._place: int | None = None

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: int) -> Any:  # type: ignore[override]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return value_of(self.spelled(index % len(self)))

    def append(self, value: Any) -> None:
        """Park one value; all that is appended comes before anything is read."""
        # ASCII: a text with half a surrogate pair, which a file may hold, comes back as it was.
        self.append_spelled(json.dumps(value))

    def append_spelled(self, value: str) -> None:
        """Park one value that `json.dumps` has spelled already, in ASCII."""
        data = value.encode("ascii")
        _named(lambda: self._file.write(data))
        self._starts.append(self._starts[-1] + len(data))

    def spelled(self, index: int) -> str:
        """The value at `index`, from 0, as it was spelled when it was parked."""
        start, end = self._starts[index], self._starts[index + 1]

        def read() -> bytes:
            if self._place is None and self._starts[-1] > IN_MEMORY:  # it is a file by now
                self._file.flush()
                self._place = self._file.fileno()
            if self._place is not None:
                return os.pread(self._place, end - start, start)
            self._file.seek(start)
            return self._file.read(end - start)

        return _named(read).decode("ascii")

    def close(self) -> None:
        """Give memory and disk back now."""
        self._file.close()


def value_of(spelled: str) -> Any:
    """What was parked, of how it was spelled."""
    return json.loads(spelled)


def small_value_of(spelled: str) -> Any:
    """`value_of` in half the time, of what holds no whole number of more than 64 bits."""
    try:
        return orjson.loads(spelled)
    except orjson.JSONDecodeError:  # NaN, or half a surrogate pair
        return value_of(spelled)


def _named(work: Callable[[], _Result]) -> _Result:
    """Whatever the disk refuses, as one line that says which disk."""
    try:
        return work()
    except OSError as error:
        try:
            folder = tempfile.gettempdir()
        except OSError:  # none of the usual ones can be written
            folder = "no folder for temporary files"
        mend = advice_after(error, "free space or set the environment variable TMPDIR to another folder")
        raise StorageError(f"{folder}: temporary data cannot be written ({error.strerror}); {mend}") from None

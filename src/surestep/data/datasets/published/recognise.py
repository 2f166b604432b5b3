"""Which layout a file has, by the keys of its first row; a file of none is answered with its keys and the nearest one.

Knows the records of layouts (`Dataset.keys`); reads one row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from surestep.data.datasets.dataset import Dataset
from surestep.data.records.record import Record, read_records
from surestep.errors import DataError
from surestep.untrusted.bounds import shown

_SHOWN = 20
"""Keys of a file that a message names."""


def recognised(path: Path, layouts: Mapping[str, Dataset], *, advice: str) -> str:
    """The name of the layout that `path` has.

    Where the keys of several fit, it is the one that asks for the most: every set of keys is one that no other layout
    has, so two never ask for equally many of the same row's.

    Args:
        path: the file.
        layouts: those that may be meant.
        advice: what to do where none fits, for the error.

    Raises:
        DataError: it holds no row, or its first row has the keys of no layout; says which it has and the nearest one.
    """
    record = _first_row(path)
    keys = {name for name in record.values if isinstance(name, str)}
    fitting = [(len(each), name) for name, dataset in layouts.items() for each in dataset.keys if each <= keys]
    if fitting:
        return max(fitting)[1]
    raise record.error(f"no layout has these keys: {_listed(keys)}; {nearest(keys, layouts.values())}; {advice}")


def nearest(keys: Iterable[str], layouts: Iterable[Dataset]) -> str:
    """The layout that lacks the fewest of its keys, in words.

    >>> one = Dataset("one", "", keys=(frozenset({"problem", "steps", "label"}),))
    >>> nearest({"problem", "steps", "labels"}, [one])
    "the nearest is 'one', which also needs label"
    """
    there = set(keys)
    lacking = [
        (len(each - there) / len(each), dataset.name, each - there) for dataset in layouts for each in dataset.keys
    ]
    if not lacking:
        return "none is known"
    _, name, names = min(lacking, key=lambda found: found[:2])
    return f"the nearest is {name!r}, which also needs {', '.join(sorted(names))}"


def _first_row(path: Path) -> Record:
    """Of a file that is one object of lists of rows, such as MR-Ben's, the first of these."""
    for record in read_records(path):
        values = list(record.values.values())
        if values and all(isinstance(value, list) for value in values):
            inner = next((row for rows in values for row in rows), None)
            if isinstance(inner, dict):
                return record.inner(inner, "its first row")
        return record
    raise DataError("holds no row", path=path)


def _listed(keys: Iterable[str]) -> str:
    names = sorted(keys)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(shown(name) for name in names[:_SHOWN]) or "none") + more

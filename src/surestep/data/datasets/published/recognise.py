"""Which layout a file has, by the keys of its first row; a file of none is answered with its keys and the nearest one.

Knows the records of layouts (`Dataset.rows`); reads one row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from surestep.data.datasets.dataset import Dataset, layout_of
from surestep.data.records.record import Record, read_records
from surestep.errors import DataError
from surestep.untrusted.bounds import shown

_SHOWN = 20
"""Keys of a file that a message names."""


def recognised(path: Path, layouts: Mapping[str, Dataset], *, advice: str) -> str:
    """The name of the layout that `path` has.

    Args:
        path: the file.
        layouts: those that may be meant.
        advice: what to do where none fits, for the error.

    Raises:
        DataError: it holds no row, or its first row has the keys of no layout; says which it has and the nearest one.
    """
    record = _first_row(path)
    keys = {name for name in record.values if isinstance(name, str)}
    found = layout_of(record, layouts)
    if found is not None:
        return found[0]
    raise record.error(f"no layout has these keys: {_listed(keys)}; {nearest(keys, layouts.values())}; {advice}")


def nearest(keys: Iterable[str], layouts: Iterable[Dataset]) -> str:
    """The layout that lacks the fewest of its keys, in words.

    >>> from surestep.data.datasets.dataset import RowKeys
    >>> one = Dataset("one", "", rows=(RowKeys(("problem", "steps", "label")),))
    >>> nearest({"problem", "steps", "labels"}, [one])
    "the nearest is 'one', which also needs label"
    """
    there = set(keys)
    lacking = []
    for dataset in layouts:
        for each in dataset.rows:
            names = [need for need in each.needs if there.isdisjoint(need.split("|"))]
            if names:  # one that lacks nothing holds other values under these keys
                lacking.append((len(names) / len(each.needs), dataset.name, names))
    if not lacking:
        return "none is near"
    _, name, names = min(lacking)
    return f"the nearest is {name!r}, which also needs {', '.join(names)}"


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

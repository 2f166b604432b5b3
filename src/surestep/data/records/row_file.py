"""A file of rows whose columns are called otherwise than a layout calls them.

`--columns problem=question steps=solution.steps` says which column holds what. Knows no layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from surestep.data.records.record import Record
from surestep.untrusted.bounds import shown
from surestep.untrusted.whole_numbers import whole_number


@dataclass(frozen=True, slots=True)
class RowFile:
    """A file, and which of its columns holds what.

    Attributes:
        path: the file.
        columns: name in the layout -> name in the file, or a path of names there (`find`).
    """

    path: Path
    columns: Mapping[str, str] = field(default_factory=dict)

    def renamed(self, record: Record) -> Record:
        """The record with its columns called as the layout calls them; those that are not named stay.

        Raises:
            BadRowError: it has none of a column's name.

        >>> file = RowFile(Path("a.jsonl"), {"problem": "q.text"})
        >>> file.renamed(Record({"q": {"text": "1+1?"}, "n": 3}, file.path, 1)).values
        {'n': 3, 'problem': '1+1?'}
        """
        if not self.columns:
            return record
        taken = {}
        for name, column in self.columns.items():
            is_there, taken[name] = _column(record, column)
            if not is_there:
                there = shown(", ".join(map(str, record.values)))
                raise record.error(f"there is no column {column!r} (--columns {name}={column}); it has {there}")
        sources = {column if column in record.values else column.split(".")[0] for column in self.columns.values()}
        rest = {name: value for name, value in record.values.items() if name not in sources and name not in taken}
        return replace(record, values={**rest, **taken})


Files = Path | str | Iterable[Path | str | RowFile]


def row_files(paths: Files) -> list[RowFile]:
    """One file or several, each as a `RowFile`.

    >>> [file.path.name for file in row_files(["a.jsonl", RowFile(Path("b.csv"), {"problem": "q"})])]
    ['a.jsonl', 'b.csv']
    """
    several = [paths] if isinstance(paths, str | Path) else paths
    return [file if isinstance(file, RowFile) else RowFile(Path(file)) for file in several]


@dataclass(frozen=True, slots=True)
class Found:
    """Where a path of names (`a.b.0.c`) leads in a record.

    Attributes:
        is_there: whether it leads to a value.
        value: that value; where there is none, what the last name holds that is there.
        before: the path to `value` where there is none; "" for the record itself.
        missing: the first name that is not there.
    """

    is_there: bool
    value: Any
    before: str = ""
    missing: str = ""


def find(record: Record, path: str) -> Found:
    """What a path of names leads to: `a.b.0.c` is `c` of the first entry of `b` of `a`.

    A name may itself hold a dot, so one that is called as all that is left of the path comes first. An object or a list
    may be spelled as JSON in a cell of a CSV.

    Raises:
        BadRowError: such a cell is no JSON.

    >>> row = Record({"a": {"b": [{"c": 1}]}, "a.x": 2}, Path("rows.jsonl"), 1)
    >>> find(row, "a.b.0.c").value, find(row, "a.x").value, find(row, "a.b.7").missing
    (1, 2, '7')
    """
    value: Any = record.values
    before, rest = "", path
    while True:
        if before:
            value = record.spelled(record.spelled(value, "{", f"'{before}'"), "[", f"'{before}'")
        if isinstance(value, dict) and rest in value:
            return Found(True, value[rest])
        name, dot, rest = rest.partition(".")
        inside, is_inside = _inside(value, name)
        if not is_inside:
            return Found(False, value, before, name)
        value, before = inside, f"{before}.{name}" if before else name
        if not dot:
            return Found(True, value)


def _inside(value: Any, name: str) -> tuple[Any, bool]:
    if isinstance(value, dict) and name in value:
        return value[name], True
    if isinstance(value, list) and (place := whole_number(name)) is not None and place < len(value):
        return value[place], True
    return None, False


def has_column(record: Record, column: str) -> bool:
    """Whether a record has a column of this name, or of this path of names (`a.b`).

    Raises:
        BadRowError: the path leads into what is neither an object, a list nor null.
    """
    return _column(record, column)[0]


def _column(record: Record, column: str) -> tuple[bool, Any]:
    """Whether there is such a column, and what it holds; None where an object above it is null."""
    found = find(record, column)
    if found.is_there:
        return True, found.value
    if found.value is None or found.value != found.value:  # null, or the NaN that pandas writes for it
        return True, None
    if not isinstance(found.value, list):
        record.inner(found.value, f"'{found.before}'")  # which says what it is where it is no object
    return False, None

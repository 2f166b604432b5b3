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


@dataclass(frozen=True, slots=True)
class RowFile:
    """A file, and which of its columns holds what.

    Attributes:
        path: the file.
        columns: name in the layout -> name in the file; `a.b` is the field `b` of the object `a`.
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
            if not has_column(record, column):
                there = shown(", ".join(map(str, record.values)))
                raise record.error(f"there is no column {column!r} (--columns {name}={column}); it has {there}")
            taken[name] = column_of(record, column)
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


def has_column(record: Record, column: str) -> bool:
    """Whether a record has a column of this name, or of this path of names (`a.b`)."""
    return _find(record, column)[0]


def column_of(record: Record, column: str) -> Any:
    """What a record's column holds; None where it has none, or an object above it is null."""
    return _find(record, column)[1]


def _find(record: Record, column: str) -> tuple[bool, Any]:
    if column in record.values:
        return True, record.values[column]
    name, dot, rest = column.partition(".")
    if not dot or name not in record.values:
        return False, None
    if (value := record.get(name)) is None:
        return True, None
    # A name may itself hold a dot, so what lies within is looked up in the same way.
    return _find(record.inner(value, f"'{name}'"), rest)

"""Rows of Parquet, Arrow and Feather files, a batch at a time: the one road to them, for own data and for tables.

What is read is read by pyarrow; this module names every way in which it can fail. Knows no column.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from surestep.data.records.lines import missing_file
from surestep.errors import DataError
from surestep.untrusted import parse_json
from surestep.untrusted.bounds import shown
from surestep.untrusted.places import open_regular

PARQUET = frozenset({".parquet", ".pq"})
ARROW = frozenset({".arrow", ".feather", ".ipc"})
"""Endings of Arrow's own format: its files (Feather 2 is one), and its streams, which `datasets` writes."""
BATCH = 256
"""Rows that are in memory as Python's own values at once."""
_ARROW_FILE = b"ARROW1"


@dataclass(frozen=True, slots=True)
class ArrowRow:
    """One row.

    Attributes:
        number: its place among the rows, from 1.
        values: its columns as Python's own values; None for a cell that Python has no value for.
        unread: why such a cell cannot be read; empty where all can.
        batch: the Arrow batch that holds it, and its place there.
        classes: the names behind the numbers of a column, where `datasets` wrote them with it (`class_names`).
        decimals: the columns that hold decimal numbers, also within lists or objects (`with_plain_numbers`).
    """

    number: int
    values: dict[str, Any]
    unread: str
    batch: tuple[Any, int]
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    decimals: Sequence[str] = ()


def is_arrow(path: Path) -> bool:
    """Whether the name says that a file is read here.

    >>> is_arrow(Path("a.parquet")), is_arrow(Path("a.jsonl"))
    (True, False)
    """
    return path.suffix.lower() in PARQUET | ARROW


def read_arrow(path: Path) -> Iterator[ArrowRow]:
    """Every row of a Parquet or Arrow file, in order; by its ending, Parquet where that is neither.

    Raises:
        DataError: the file is missing or damaged, or has two columns of one name.
    """
    number = 0
    kind = _kind(path)
    import pyarrow

    with _opened(path) as (file, batches):
        _check_names(path, file)
        classes = _classes_of(file)
        decimals = [column.name for column in _schema(file) if "decimal" in str(column.type)]
        try:
            for whole in batches:
                if kind == "Arrow":  # its buffers are used as they are, and offsets may lead out of them
                    whole.validate(full=True)
                for start in range(0, whole.num_rows, BATCH):
                    batch = whole.slice(start, BATCH)
                    for index, (values, unread) in enumerate(_rows(batch)):
                        number += 1
                        yield ArrowRow(number, values, unread, (batch, index), classes, decimals)
        except (OSError, pyarrow.ArrowException, ValueError) as error:
            message = f"the {kind} file is damaged behind row {number} ({shown(str(error))}); copy it again"
            raise DataError(message, path=path) from None


def count_arrow(path: Path) -> int:
    """How many rows a Parquet file says it has.

    Raises:
        DataError: as `read_arrow`.
    """
    with _opened(path) as (file, _):
        _check_names(path, file)
        return int(file.metadata.num_rows)


def rows_of_batches(batches: Any) -> Iterator[dict[str, Any]]:
    """The rows of Arrow batches that are in memory, as Python's own values.

    Raises:
        ValueError: a cell that Python has no value for.
    """
    for whole in batches:
        for start in range(0, whole.num_rows, BATCH):
            for values, unread in _rows(whole.slice(start, BATCH)):
                if unread:
                    raise ValueError(unread)
                yield values


def class_names(features: Any) -> dict[str, list[str]]:
    """The names behind the numbers of each column of `datasets.ClassLabel`, or of lists of them.

    Args:
        features: what `datasets.Features.to_dict` gives, which is also kept in the files it writes.

    >>> class_names({"labels": {"_type": "List", "feature": {"_type": "ClassLabel", "names": ["bad", "good"]}}})
    {'labels': ['bad', 'good']}
    """
    found = {}
    for column, feature in features.items() if isinstance(features, Mapping) else ():
        while isinstance(feature, Mapping) and feature.get("_type") in {"List", "LargeList", "Sequence"}:
            feature = feature.get("feature")
        names = feature.get("names") if isinstance(feature, Mapping) and feature.get("_type") == "ClassLabel" else None
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            found[str(column)] = names
    return found


def with_names(values: Mapping[str, Any], classes: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """A row with the names of its classes in place of their numbers; -1, which stands for none, is None.

    >>> with_names({"labels": [1, 0, -1], "n": 1}, {"labels": ["bad", "good"]})
    {'labels': ['good', 'bad', None], 'n': 1}
    """
    return {name: _named(value, classes[name]) if name in classes else value for name, value in values.items()}


def with_plain_numbers(value: Any) -> Any:
    """A value with Python's own numbers in place of decimal ones, also within lists and objects.

    As JSON would read them: a whole one to its last digit, another as the float next to it; NaN is None.

    >>> with_plain_numbers({"labels": [Decimal("0.50"), Decimal("1.00"), None]})
    {'labels': [0.5, 1, None]}
    """
    if isinstance(value, Decimal):
        if not value.is_finite():
            return None if value.is_nan() else float(value)
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {name: with_plain_numbers(inner) for name, inner in value.items()}
    return [with_plain_numbers(inner) for inner in value] if isinstance(value, list) else value


def _named(value: Any, names: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    return None if value == -1 else names[value] if 0 <= value < len(names) else value


def _schema(file: Any) -> Any:
    return file.schema_arrow if hasattr(file, "schema_arrow") else file.schema


def _classes_of(file: Any) -> dict[str, list[str]]:
    """Of the note that `datasets` keeps in a file's schema; empty where there is none."""
    note = (_schema(file).metadata or {}).get(b"huggingface")
    if note is None:
        return {}
    try:
        info = parse_json(note.decode()).get("info")
        return class_names(info.get("features"))
    except (ValueError, AttributeError):
        return {}


def _kind(path: Path) -> str:
    return "Arrow" if path.suffix.lower() in ARROW else "Parquet"


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Iterator[Any]]]:
    """The file, and its batches."""
    import pyarrow
    import pyarrow.parquet

    try:
        with open_regular(path) as raw:
            if _kind(path) == "Parquet":
                parquet = pyarrow.parquet.ParquetFile(raw)
                yield parquet, parquet.iter_batches(batch_size=BATCH)
            elif raw.read(len(_ARROW_FILE)) == _ARROW_FILE:
                table = pyarrow.ipc.open_file(raw)
                yield table, (table.get_batch(number) for number in range(table.num_record_batches))
            else:
                raw.seek(0)
                stream = pyarrow.ipc.open_stream(raw)
                yield stream, iter(stream)
    except FileNotFoundError:
        raise missing_file([path]) from None
    except (OSError, pyarrow.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"cannot be read as {_kind(path)} ({shown(reason)}); copy it again", path=path) from None


def _check_names(path: Path, file: Any) -> None:
    names = _schema(file).names
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"the table has two columns {twice[0]!r}; rename or remove one", path=path)


def _rows(batch: Any) -> Iterator[tuple[dict[str, Any], str]]:
    columns = {name: _cells(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)}
    for index in range(batch.num_rows):
        values = {name: cells[index] for name, cells in columns.items()}
        unread = [(name, cell) for name, cell in values.items() if isinstance(cell, _Unread)]
        values |= dict.fromkeys((name for name, _ in unread), None)
        yield values, f"column {unread[-1][0]!r} cannot be read ({shown(unread[-1][1].reason)})" if unread else ""


@dataclass(frozen=True, slots=True)
class _Unread:
    """A cell that Python has no value for, and why."""

    reason: str


def _cells(column: Any) -> list[Any]:
    """The cells of a column as Python's values; what is finer or further than a date of Python's, as text."""
    try:
        cells: list[Any] = column.to_pylist()
    except (ValueError, OverflowError):
        return [_cell(value) for value in column]
    return cells


def _cell(value: Any) -> Any:
    import pyarrow

    try:
        return value.as_py()
    except (ValueError, OverflowError) as error:
        try:
            return (
                value.cast(pyarrow.string()).as_py() if pyarrow.types.is_temporal(value.type) else _Unread(str(error))
            )
        except (pyarrow.ArrowException, ValueError):
            return _Unread(str(error))

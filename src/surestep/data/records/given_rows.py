"""Rows that a program holds (a list, a data frame, a `datasets.Dataset`) as a file that every reader takes.

A run keeps the names of its files, so that it can be resumed, evaluated and compared; what is only in memory could not.
The same rows give the same file. Knows no layout.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from surestep.data.records.arrow_file import class_names, rows_of_batches, with_names, with_plain_numbers
from surestep.errors import InputError
from surestep.files import write_whole

_ALLOWED = (
    "a path, a list of dictionaries, a pandas or polars frame, a pyarrow Table or a datasets.Dataset (of one split)"
)
_INDEX = "__index_level_"
"""How a column begins that holds the index of a pandas frame."""


def file_of_rows(rows: Any, folder: Path) -> Path:
    """The rows as a .jsonl file in `folder`, named after their content; a path is given back as it is.

    Args:
        rows: see `rows_of`; or a path, a pattern or a data set of the hub.
        folder: made where it is not there.

    Raises:
        InputError: what is given is none of that, holds no row, or a row that is no dictionary.
        StorageError: the file cannot be written.
    """
    if isinstance(rows, str | Path):
        return Path(rows)
    digest, number = hashlib.sha256(), 0
    for number, row in enumerate(rows_of(rows), start=1):
        digest.update(_line(row, number))
    if number == 0:
        raise InputError(f"there is no row; allowed: at least one, in {_ALLOWED}")
    path = folder / f"{digest.hexdigest()[:16]}.jsonl"
    if not path.is_file():
        with write_whole(path, "wb") as file:
            for number, row in enumerate(rows_of(rows), start=1):
                file.write(_line(row, number))
    return path


def rows_of(rows: Any) -> Iterator[Mapping[str, Any]]:
    """The rows of a list of dictionaries, a pandas or polars frame, a pyarrow table or a `datasets.Dataset`.

    Raises:
        InputError: it is none of them.

    >>> list(rows_of([{"problem": "1+1?"}]))
    [{'problem': '1+1?'}]
    """
    if isinstance(rows, Mapping):
        names = ", ".join(map(str, list(rows)[:4]))
        raise InputError(f"the rows are a dictionary of {names}; allowed: one of these, or {_ALLOWED}")
    if hasattr(rows, "with_format") and hasattr(rows, "column_names"):  # a datasets.Dataset
        features: Any = getattr(rows, "features", None)
        classes = {} if features is None else class_names(features.to_dict())
        yield from (with_names(row, classes) if classes else row for row in rows.with_format(None))
    elif hasattr(rows, "__arrow_c_stream__"):
        yield from _arrow_rows(rows)
    elif isinstance(rows, Sequence) and not isinstance(rows, str | bytes):
        yield from rows
    else:
        raise InputError(f"the rows are of type {type(rows).__name__}; allowed: {_ALLOWED}")


def _arrow_rows(rows: Any) -> Iterator[Mapping[str, Any]]:
    import pyarrow

    try:
        for row in rows_of_batches(pyarrow.RecordBatchReader.from_stream(rows)):
            yield {name: value for name, value in row.items() if not name.startswith(_INDEX)}
    except (pyarrow.ArrowException, ValueError) as error:
        raise InputError(f"the rows cannot be read ({error}); give them as a list of dictionaries") from None


def _line(row: Any, number: int) -> bytes:
    if not isinstance(row, Mapping):
        raise InputError(f"row {number} is of type {type(row).__name__}; allowed: a dictionary of its columns")
    return (to_json(dict(row), plain=_plain_number) + "\n").encode()


def to_json(value: Any, *, plain: Callable[[Any], Any] | None = None) -> str:
    """A value as one line of JSON that every reader takes: NaN, which stands for what is missing, is null; an infinity
    is text.

    Args:
        value: of JSON's kinds, or of numpy's, dates, decimal numbers and bytes.
        plain: makes a value that JSON does not know one that it knows; unset: decimal numbers are text, to their last
            digit.

    >>> to_json({"a": [1.5, float("nan")], "b": float("-inf")})
    '{"a": [1.5, null], "b": "-Infinity"}'
    """
    plain = plain or _plain
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=plain)
    except ValueError:
        value = _finite(value)
        text = json.dumps(value, ensure_ascii=False, default=plain)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON spells
        return json.dumps(value, default=plain)
    return text


def _finite(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else json.dumps(value)
    return value


def _plain_number(value: Any) -> Any:
    """As `_plain`, with a decimal as the number that it is: whoever reads the rows asks for numbers."""
    return with_plain_numbers(value) if isinstance(value, Decimal) and not value.is_infinite() else _plain(value)


def _plain(value: Any) -> Any:
    """A value that JSON does not know: numpy's numbers and arrays as Python's, a date, a decimal or bytes as text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, bytes):
        return value.hex()
    return str(value.isoformat() if hasattr(value, "isoformat") else value)

"""The rows of a file that a user wants scored: JSONL, CSV or Parquet, one at a time, with their place.

A row that cannot be read is handed on as such, and reading goes on; a file that is broken as a whole (a cut gzip, no
Parquet) is an error. Knows no column.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

from surestep.data.records.arrow_file import count_arrow, read_arrow
from surestep.data.records.lines import lines_of_stream, read_lines
from surestep.data.records.record import cut_file, is_cut, read_csv, read_records, why_no_json
from surestep.errors import BadRowError, ConfigError, DataError
from surestep.untrusted import parse_json

Format = Literal["jsonl", "csv", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)
STDIN = Path("-")
"""Standard input, and output."""

SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        number: its place among the rows, from 1.
        line: where it begins in the file, from 1; its number where rows are no lines.
        values: its columns. Cells of a CSV are text, None where empty.
        text: the line itself, where it is one JSON object.
        batch: the Parquet batch that holds it, and its place there.
    """

    number: int
    line: int
    values: dict[str, Any]
    text: str | None = None
    batch: tuple[Any, int] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is not scored: its place, why, and what it holds, as far as that is known."""

    number: int
    line: int
    reason: str
    content: Any = None


def format_of(path: Path, given: str | None = None, *, flag: str = "--format") -> Format:
    """What a file is laid out as: as `given`, else by its name, else (standard input or output) JSONL.

    Raises:
        DataError: it is a folder.
        ConfigError: the name does not tell.

    >>> format_of(Path("a.jsonl.gz")), format_of(Path("a.csv")), format_of(Path("-"))
    ('jsonl', 'csv', 'jsonl')
    """
    if path.is_dir():
        order = " (the file comes first, then the checkpoint)" if flag == "--format" else ""
        raise DataError(f"is a folder, not a file; name a file{order}", path=path)
    for known in FORMATS:
        if given == known:
            return known
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    if suffixes and suffixes[-1] in SUFFIXES:
        return SUFFIXES[suffixes[-1]]
    if path == STDIN:
        return "jsonl"
    raise ConfigError(f"{path}: its name does not say how it is laid out; say so with {flag} {' or '.join(FORMATS)}")


def read_rows(path: Path, layout: Format) -> Iterator[Row | BadRow]:
    """Every row, in order.

    Raises:
        DataError: the file is missing, empty or broken.
        ConfigError: Parquet from standard input.
    """
    if layout == "parquet":
        yield from _parquet(path)
    elif layout == "csv":
        yield from _csv(path)
    elif path.suffix.lower() == ".json" or (path.suffix.lower() == ".gz" and Path(path.stem).suffix.lower() == ".json"):
        yield from _json(path)
    else:
        yield from _jsonl(path)


def count_rows(path: Path, layout: Format) -> int | None:
    """About how many rows a file has, for the time that is left; None of standard input.

    Raises:
        DataError: the file is broken, or was cut in the middle of its last row: better said now than hours later.
    """
    if path == STDIN:
        return None
    if layout == "parquet":
        return count_arrow(path)
    (line, text), *_ = deque(read_lines(path, keep_bad_bytes=True), maxlen=1) or [(0, "")]
    if layout == "jsonl" and not text.endswith("\n"):
        try:
            parse_json(text)
        except (ValueError, RecursionError) as error:
            if is_cut(error, text):
                raise cut_file(path, line) from None
    return max(1, line - (layout == "csv"))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    if path != STDIN:
        yield from read_lines(path, keep_bad_bytes=True)
        return
    stream: BinaryIO = sys.stdin.buffer
    head = stream.peek(4)[:4] if hasattr(stream, "peek") else b""
    yield from lines_of_stream(stream, Path("standard input"), head=head, keep_bad_bytes=True)


def _jsonl(path: Path) -> Iterator[Row | BadRow]:
    number = 0
    for line, text in _lines(path):
        if not text.strip():
            continue
        number += 1
        text = text.strip()
        if (reason := _not_utf8(text)) is not None:
            yield BadRow(number, line, reason, text)
            continue
        try:
            values = parse_json(text, unique_keys=True)
        except (ValueError, RecursionError) as error:
            yield BadRow(number, line, f"not valid JSON ({why_no_json(error, text)})", text)
            continue
        if isinstance(values, dict):
            yield Row(number, line, values, text)
        else:
            yield BadRow(number, line, "the row is no object; allowed: one object a line", values)


def _not_utf8(text: str) -> str | None:
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        place = f"byte 0x{ord(text[error.start]) & 0xFF:02x}, character {error.start + 1} of the row"
        return f"not UTF-8 ({place}); save the file as UTF-8"
    return None


def _json(path: Path) -> Iterator[Row | BadRow]:
    """One array, or objects over several lines."""
    bad: list[BadRowError] = []
    number = 0
    for record in read_records(path, on_bad_row=bad.append):
        for error in bad:
            number += 1
            yield BadRow(number, error.line or number, error.reason)
        bad.clear()
        number += 1
        yield Row(number, record.line, record.values)
    for error in bad:
        number += 1
        yield BadRow(number, error.line or number, error.reason)


def _csv(path: Path) -> Iterator[Row | BadRow]:
    bad: list[BadRowError] = []
    number = 0
    for record in read_csv(_lines(path), path, bad.append):
        for error in bad:
            number += 1
            yield BadRow(number, error.line or number, error.reason)
        bad.clear()
        number += 1
        if (
            reason := _not_utf8(" ".join(cell for cell in (*record.values, *record.values.values()) if cell))
        ) is not None:
            yield BadRow(number, record.line, reason, record.values)
        else:
            yield Row(number, record.line, record.values)
    for error in bad:
        number += 1
        yield BadRow(number, error.line or number, error.reason)


def _parquet(path: Path) -> Iterator[Row | BadRow]:
    _check_no_stream(path)
    for row in read_arrow(path):
        if row.unread:
            yield BadRow(row.number, row.number, row.unread, row.values)
        else:
            yield Row(row.number, row.number, row.values, batch=row.batch)


def _check_no_stream(path: Path) -> None:
    if path == STDIN:
        raise ConfigError("Parquet cannot be read from standard input; name a file, or pipe JSONL")

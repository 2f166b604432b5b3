"""Records from .jsonl, .json and .csv files (each also packed) and Parquet and Arrow files, one at a time, with their
place.

Knows JSON and CSV; knows no dataset. All but .json is streamed; a .json file is held as text while its records are
parsed one by one, so that memory stays proportional to its text. Why JSON and CSV are read here and not by a library:
docs/adr/0035-own-data-is-read-by-pyarrow-except-lines.md.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from surestep.counted import counted
from surestep.data.records.arrow_file import PARQUET, count_arrow, is_arrow, read_arrow, with_names, with_plain_numbers
from surestep.data.records.lines import PACKED, count_lines, read_lines
from surestep.errors import BadRowError, DataError
from surestep.untrusted.bounds import HELD_WHOLE, LINE
from surestep.untrusted.json_text import check_depth, fault_of, json_decoder, parse_json, parsed_lines

MAX_MESSAGE = 400
"""Longest message of a record's error, in characters."""

PathOrPaths = Path | str | Iterable[Any]
"""One file or several; a `RowFile` among them says what its columns are called."""


@dataclass(slots=True)
class Record:
    """A JSON object or CSV row, and where it stands.

    Attributes:
        values: its fields. CSV fields are text, with None for an empty one.
        path: the file.
        line: 1-based line on which it begins.
        number: 1-based count among the records of a file where a line may hold many, or that has no lines; else 0.
        is_cells: the values are cells of a CSV: texts, which may spell a list or an object as JSON.
    """

    values: dict[str, Any]
    path: Path
    line: int
    number: int = 0
    is_cells: bool = False

    @property
    def place(self) -> str:
        """File name and line (or record, where a line may hold many), for reports."""
        return f"{self.path.name}, " + (f"record {self.number}" if self.number else f"line {self.line}")

    def error(self, message: str) -> BadRowError:
        """An error about this record; the value it quotes may be a whole document, so it is cut."""
        message = message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]}…"
        return BadRowError(message, path=self.path, line=self.line, number=self.number)

    def get(self, name: str) -> Any:
        """A field's value; None where it is null or absent, or the NaN that pandas writes for null."""
        value = self.values.get(name)
        return None if isinstance(value, float) and math.isnan(value) else value

    def seen(self, name: str) -> Any:
        """A field's value as `items` and `inner` would read it; a cell that spells nothing stays text."""
        value = self.get(name)
        if self.is_cells and isinstance(value, str) and value.lstrip()[:1] in {"[", "{"}:
            with suppress(ValueError, RecursionError):
                return parse_json(value, unique_keys=True)
        return value

    def inner(self, values: object, what: str) -> Record:
        """An object inside this record, at the same place."""
        values = self.spelled(values, "{", what)
        if not isinstance(values, dict):
            raise self.error(f"{what} is {_kind(values)}; allowed: an object")
        return Record(values, self.path, self.line, self.number)

    def spelled(self, value: object, opening: str, what: str) -> object:
        """What a cell of a CSV spells as JSON, where it begins like that; everything else as it is."""
        if not (self.is_cells and isinstance(value, str) and value.lstrip().startswith(opening)):
            return value
        try:
            return parse_json(value, unique_keys=True)
        except (ValueError, RecursionError) as error:
            mend = "write the table as JSONL or Parquet, which hold lists (Python's spelling of a list is no JSON)"
            raise self.error(f"{what} is no JSON ({error}); {mend}") from None

    def text(self, name: str) -> str:
        """A field that must be there and be text."""
        value = self.optional_text(name)
        if value is None:
            raise self.error(f"'{name}' is missing; allowed: text")
        return value

    def optional_text(self, name: str) -> str | None:
        """A field that is text, or null or absent (None)."""
        value = self.get(name)
        if value is None:
            return None
        return self.as_text(value, f"'{name}'")

    def as_text(self, value: object, what: str) -> str:
        """`value` where it is text that UTF-8 can hold."""
        if not isinstance(value, str):
            raise self.error(f"{what} is {_kind(value)}; allowed: text")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise self.error(f"{what} holds half of a surrogate pair; allowed: valid Unicode") from None
        return value

    def items(self, name: str) -> list[Any]:
        """A field that is a list; null or absent is the empty list."""
        value = self.spelled(self.get(name), "[", f"'{name}'")
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.error(f"'{name}' is {_kind(value)}; allowed: a list")
        return value


def as_paths(paths: PathOrPaths) -> list[Path]:
    """One path or several as a list.

    >>> as_paths("a.jsonl")[0].name
    'a.jsonl'
    """
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]


BARE_RETURN = "lines end with a carriage return alone; save the file with the line ends of Unix or Windows"


def why_no_json(error: Exception, text: str) -> str:
    """What is wrong with a line that is no JSON, for a message."""
    if isinstance(error, json.JSONDecodeError):
        if error.msg == "Extra data" and text[: error.pos].rstrip(" \t\n").endswith("\r"):
            return BARE_RETURN  # one object behind the other, in what is one line
        return f"{fault_of(error)}, column {error.colno}"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


OnBadRow = Callable[[BadRowError], None]
"""Is told of a row that is no record; reading goes on behind it unless it raises."""


def refuse_bad_row(error: BadRowError) -> None:
    """The `OnBadRow` that ends the reading."""
    raise error


def read_records(path: Path, *, fetch: str | None = None, on_bad_row: OnBadRow = refuse_bad_row) -> Iterator[Record]:
    """Every record of one file, in order.

    The name decides the layout: `.csv` is a table with a header, `.json` one array or a sequence of objects,
    `.parquet`, `.arrow` and `.feather` what they say, anything else one object a line (or one array). `.gz` or `.zst`
    may follow the first two and the last.

    Args:
        path: the file.
        fetch: see `read_lines`.
        on_bad_row: what to do with a record that is not an object and a CSV row of the wrong width; raises by default.

    Raises:
        DataError: naming file and line: what `read_lines` finds, JSON that does not parse, a record or CSV row cut at
            the end of the file; and what `on_bad_row` raises.
    """
    if is_arrow(path):
        yield from _read_arrow(path, on_bad_row)
        return
    kind = _kind_of_text(path)
    lines = read_lines(path, fetch=fetch)
    if kind == ".csv":
        for record in read_csv(lines, path, on_bad_row):
            yield replace(record, is_cells=True)
    elif kind == ".json":
        yield from _read_json(_whole(lines, path), path, on_bad_row)
    else:
        yield from _read_jsonl(lines, path, on_bad_row)


def _kind_of_text(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in PACKED]
    return suffixes[-1] if suffixes else ""


def is_by_line(path: Path) -> bool:
    """Whether the name says that a file has one object a line, or is one array after all (`opens_array`)."""
    return not is_arrow(path) and _kind_of_text(path) not in {".csv", ".json"}


def about_rows(path: Path) -> int | None:
    """About how many records a file holds; None where that is not known before it is read, or it cannot be read.

    A record of several lines is counted several times, so it is never too few.
    """
    try:
        if is_arrow(path):
            return count_arrow(path) if path.suffix.lower() in PARQUET else None
        return count_lines(path)
    except DataError:  # whoever reads the file says so
        return None


def _read_arrow(path: Path, on_bad_row: OnBadRow) -> Iterator[Record]:
    number = 0
    for row in read_arrow(path):
        number = row.number
        if row.unread:
            on_bad_row(BadRowError(row.unread, path=path, number=number))
        else:
            values = with_names(row.values, row.classes) if row.classes else row.values
            values |= {name: with_plain_numbers(values[name]) for name in row.decimals}
            yield Record(values, path, number, number)
    if number == 0:
        raise DataError("the file holds no row; check where it came from", path=path)


def _read_jsonl(lines: Iterator[tuple[int, str]], path: Path, on_bad_row: OnBadRow) -> Iterator[Record]:
    is_array, lines = opens_array(lines)
    if is_array:
        yield from _read_json(_whole(lines, path), path, on_bad_row)
    else:
        yield from read_objects(lines, path, on_bad_row)


def opens_array(lines: Iterator[tuple[int, str]]) -> tuple[bool, Iterator[tuple[int, str]]]:
    """Whether a file of lines is one JSON array, and its lines from the first that is not blank on.

    Of an array, line ends stand for the blank lines before it.
    """
    for line, text in lines:
        if text and not text.isspace():
            is_array = text.lstrip().startswith("[")
            first = (1, "\n" * (line - 1) + text) if is_array else (line, text)
            return is_array, itertools.chain([first], lines)
    return False, iter(())


def read_objects(lines: Iterable[tuple[int, str]], path: Path, on_bad_row: OnBadRow) -> Iterator[Record]:
    """The records of some numbered lines of a file, one JSON object each; see `read_records`."""
    for line, value in parsed_lines(lines, lambda error, line, text: _refuse(error, path, line, text)):
        if isinstance(value, dict):
            yield Record(value, path, line)
        else:
            yield from _record(value, path, line, on_bad_row)


def _whole(lines: Iterable[tuple[int, str]], path: Path) -> str:
    """All of a file whose JSON is not one record a line."""
    held, most = io.StringIO(), HELD_WHOLE()
    for number, line in lines:
        held.write(line)
        if held.tell() > most:  # in characters: a text takes one to four bytes for each
            message = f"{HELD_WHOLE.exceeded('as one piece of JSON it has')}, or write one record a line (.jsonl)"
            raise DataError(message, path=path, line=number)
    return held.getvalue()


def _read_json(text: str, path: Path, on_bad_row: OnBadRow) -> Iterator[Record]:
    decoder = json_decoder(text)
    index, line, counted = _skip_space(text, 0), 1, 0
    in_array = text[index : index + 1] == "["
    index = _skip_space(text, index + 1) if in_array else index
    number = 0
    while index < len(text) and not (in_array and text[index] == "]"):
        line += text.count("\n", counted, index)
        counted = index
        try:
            value, index = decoder.raw_decode(text, index)
            check_depth(value)
        except (ValueError, RecursionError) as error:
            place = error.pos if isinstance(error, json.JSONDecodeError) else index
            _refuse(error, path, line + text.count("\n", counted, place), text)
        number += 1
        yield from _record(value, path, line, on_bad_row, number)
        index = _skip_space(text, index)
        if in_array and text[index : index + 1] == ",":
            index = _skip_space(text, index + 1)
        elif in_array and text[index : index + 1] not in ("]", ""):
            message = "not valid JSON (a comma is missing between two records); correct or remove the record"
            raise DataError(message, path=path, line=line + text.count("\n", counted, index))
    if in_array and index >= len(text):
        raise cut_file(path, line + text.count("\n", counted))
    if in_array and (after := _skip_space(text, index + 1)) < len(text):
        message = "not valid JSON (more follows the end of the array); write one array, or one object a line"
        raise DataError(message, path=path, line=line + text.count("\n", counted, after))


def read_csv(lines: Iterator[tuple[int, str]], path: Path, on_bad_row: OnBadRow) -> Iterator[Record]:
    """The rows of a table with a header, from its lines; see `read_records`."""
    # The module's own limit is 128 KiB a field and is global; evidence passages are longer.
    csv.field_size_limit(max(csv.field_size_limit(), LINE()))
    ends_whole = True

    def texts() -> Iterator[str]:
        nonlocal ends_whole
        for _, text in lines:
            ends_whole = text.endswith("\n")
            yield text

    reader = csv.reader(texts(), strict=True)
    try:
        header = next(reader, [])
        if twice := sorted({name for name in header if header.count(name) > 1}):
            raise DataError(f"the header names column {twice[0]!r} twice; rename or remove one", path=path, line=1)
        line = reader.line_num + 1
        for row in reader:
            if row and len(row) == len(header):
                yield Record(dict(zip(header, (cell or None for cell in row), strict=True)), path, line)
            elif row and len(row) < len(header) and not ends_whole:
                raise cut_file(path, line)
            elif row:
                message = (
                    f"the row has {counted(len(row), 'field')}, the header {len(header)}; quote fields that hold commas"
                )
                on_bad_row(BadRowError(message, path=path, line=line))
            line = reader.line_num + 1
    except csv.Error as error:
        if str(error).startswith("new-line character"):
            raise DataError(BARE_RETURN, path=path, line=reader.line_num) from None
        raise DataError(f"not valid CSV ({error}); the file may be cut", path=path, line=reader.line_num) from None


def _record(value: object, path: Path, line: int, on_bad_row: OnBadRow, number: int = 0) -> Iterator[Record]:
    if isinstance(value, dict):
        yield Record(value, path, line, number)
    else:
        message = f"the record is {_kind(value)}; allowed: an object"
        on_bad_row(BadRowError(message, path=path, line=line, number=number))


def is_cut(error: Exception, text: str) -> bool:
    """Whether `text`, which is no JSON for the reason `error`, is the beginning of a record without its rest.

    In a last line without a line end: a string that never closes, or an error that the last word, number or escape
    would not be if it went on.

    >>> from surestep.untrusted.json_text import json_decoder
    >>> def cut(text):
    ...     try:
    ...         json_decoder(text).decode(text)
    ...     except ValueError as error:
    ...         return is_cut(error, text)
    >>> cut('{"a": [1,'), cut('{"a": tru'), cut('{"a": 1.'), cut('{"a": "\\\\u00'), cut('{"a": 1]}'), cut('{"a": 1]')
    (True, True, True, True, False, False)
    """
    if not isinstance(error, json.JSONDecodeError) or text.endswith("\n"):
        return False
    rest = text.rstrip()[error.pos :]
    goes_on = any(word.startswith(rest) for word in ("true", "false", "null", "NaN", "-Infinity", "Infinity"))
    is_escape = error.msg.startswith("Invalid \\") and len(rest) <= len("\\u0000")
    return (
        error.msg.startswith("Unterminated") or goes_on or is_escape or rest in {".", "e", "E", "e-", "e+", "E-", "E+"}
    )


def _refuse(error: Exception, path: Path, line: int, text: str) -> NoReturn:
    if is_cut(error, text):
        raise cut_file(path, line) from None
    what = why_no_json(error, text)
    raise DataError(f"not valid JSON ({what}); correct or remove the record", path=path, line=line) from None


def cut_file(path: Path, line: int) -> DataError:
    """The error for a file that ends in the middle of the record that begins on `line`."""
    return DataError(
        "the file ends in the middle of a record; it was cut, so copy or download it again",
        path=path,
        line=line,
    )


def _skip_space(text: str, index: int) -> int:
    while index < len(text) and text[index] in " \t\r\n":
        index += 1
    return index


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    if isinstance(value, int | float):
        return names.get(type(value), f"the number {value!r}")
    return names.get(type(value), f"a {type(value).__name__}")

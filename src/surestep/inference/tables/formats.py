"""Rows with their new columns as bytes: parts of a file, and the whole file from its parts.

What stood in a row stays: a line of JSON keeps its own characters, a Parquet column its type. The same rows give the
same bytes. Knows no scorer.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, cast

from surestep.data.records.given_rows import to_json
from surestep.errors import DataError, InputError
from surestep.inference.tables.rows import Format, Row
from surestep.inference.tables.tasks import INDEX, INDICES, LISTS, NUMBER, NUMBERS, TEXT, TEXTS
from surestep.untrusted import has_lone_surrogate, parse_json
from surestep.untrusted.bounds import shown

Added = Mapping[str, Any]
"""The new columns of a row."""


class TableFormat(Protocol):
    """How rows are written."""

    def check(self, row: Row) -> None:
        """Raise InputError where a row does not fit into this file."""
        ...

    def write_part(self, file: IO[bytes], rows: Sequence[tuple[Row, Added]]) -> None:
        """Some rows, as a piece that `join` understands."""
        ...

    def join(self, parts: Sequence[Path], file: IO[bytes]) -> None:
        """The whole file from its pieces."""
        ...


def table_format(layout: Format, first: Row, added: Mapping[str, str]) -> TableFormat:
    """The format of an output whose first row is `first`; `added` are the kinds of its new columns.

    Raises:
        InputError: a new column is there already.
    """
    made: TableFormat
    if layout == "jsonl":
        made = _Jsonl(tuple(added))
    elif layout == "csv":
        made = _Csv(tuple(first.values), tuple(added))
    else:
        made = _Parquet(dict(added), None if first.batch is None else first.batch[0].schema)
    return made


def _check_new(row: Row, added: Sequence[str]) -> None:
    if taken := [name for name in added if name in row.values]:
        raise InputError(
            f"the row has a column {taken[0]!r} already; name the new ones otherwise with --prefix scored_"
        )


def _check_utf8(value: Any, layout: str) -> None:
    if has_lone_surrogate(value):
        raise InputError(
            f"the row holds half of a surrogate pair, which {layout} cannot; write JSONL (--output_format jsonl)"
        )


def _check_no_infinity(row: Row, layout: str) -> None:
    """A number may not become text."""
    if _has_infinity(row.values):
        raise InputError(
            f"the row holds an infinite number, which {layout} cannot; write Parquet (--output_format parquet)"
        )


def _has_infinity(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_infinity, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_infinity, value))
    return isinstance(value, float) and math.isinf(value)


@dataclass(frozen=True)
class _Jsonl:
    added: tuple[str, ...]

    def check(self, row: Row) -> None:
        _check_new(row, self.added)
        if row.text is None:
            _check_no_infinity(row, "JSONL")

    def write_part(self, file: IO[bytes], rows: Sequence[tuple[Row, Added]]) -> None:
        for row, added in rows:
            file.write((self._line(row, added) + "\n").encode())

    def _line(self, row: Row, added: Added) -> str:
        if row.text is None:
            return to_json({**row.values, **added})
        # The line's own characters stay: numbers as they were written, keys in their order.
        before = row.text.rstrip().removesuffix("}").rstrip()
        return before + (", " if row.values else "") + to_json(added)[1:]

    def join(self, parts: Sequence[Path], file: IO[bytes]) -> None:
        for part in parts:
            with part.open("rb") as piece:
                shutil.copyfileobj(piece, file)


@dataclass(frozen=True)
class _Csv:
    kept: tuple[str, ...]
    added: tuple[str, ...]

    def check(self, row: Row) -> None:
        _check_new(row, self.added)
        if more := [name for name in row.values if name not in self.kept]:
            raise InputError(
                f"the row has a column {more[0]!r} that the first one lacks, which a CSV cannot hold; write JSONL "
                "(--output_format jsonl)"
            )
        _check_no_infinity(row, "CSV")
        _check_utf8([*row.values, *(value for value in row.values.values() if isinstance(value, str))], "CSV")

    def write_part(self, file: IO[bytes], rows: Sequence[tuple[Row, Added]]) -> None:
        for row, added in rows:
            file.write(
                self._line([*(row.values.get(name) for name in self.kept), *(added[name] for name in self.added)])
            )

    def _line(self, cells: Sequence[Any]) -> bytes:
        text = io.StringIO()
        # The module quotes the characters of its own line end only, and a bare \r would end a row for every reader.
        csv.writer(text, lineterminator="\r\n").writerow([_cell(value) for value in cells])
        return text.getvalue().removesuffix("\r\n").encode() + b"\n"

    def join(self, parts: Sequence[Path], file: IO[bytes]) -> None:
        file.write(self._line([*self.kept, *self.added]))
        _Jsonl(self.added).join(parts, file)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value)
    if isinstance(value, str):
        return value
    spelled = to_json(value)
    # A date or a decimal number is text, and a cell holds text without JSON's quotes.
    return str(parse_json(spelled)) if spelled.startswith('"') else spelled


@dataclass(frozen=True)
class _Parquet:
    added: dict[str, str]
    schema: Any

    def check(self, row: Row) -> None:
        _check_new(row, tuple(self.added))
        if self.schema is None:
            _check_utf8(row.values, "Parquet")

    def write_part(self, file: IO[bytes], rows: Sequence[tuple[Row, Added]]) -> None:
        import pyarrow
        import pyarrow.parquet

        if not rows:
            return  # nothing at all is a piece without a schema of its own
        try:
            table = (
                _taken(rows)
                if self.schema is not None
                else pyarrow.Table.from_pylist([dict(row.values) for row, _ in rows])
            )
            for name, kind in self.added.items():
                column = pyarrow.array([added[name] for _, added in rows], _arrow_type(kind))
                table = table.append_column(name, column)
            # What other libraries noted of the columns is about the former ones only.
            pyarrow.parquet.write_table(table.replace_schema_metadata(None), file)
        except (pyarrow.ArrowException, TypeError, ValueError, OverflowError) as error:
            first, last = rows[0][0].number, rows[-1][0].number
            raise DataError(
                f"rows {first} to {last} do not fit into one Parquet table ({shown(str(error))}); write JSONL "
                "(--output_format jsonl)"
            ) from None

    def join(self, parts: Sequence[Path], file: IO[bytes]) -> None:
        import pyarrow
        import pyarrow.parquet

        parts = [part for part in parts if part.stat().st_size]
        schemas = [pyarrow.parquet.read_schema(part) for part in parts] or [self._without_rows()]
        try:
            schema = pyarrow.unify_schemas(schemas, promote_options="permissive")
            with pyarrow.parquet.ParquetWriter(file, schema) as writer:
                for part in parts:
                    tables = [schema.empty_table(), pyarrow.parquet.read_table(part)]
                    writer.write_table(pyarrow.concat_tables(tables, promote_options="permissive"))
        except pyarrow.ArrowException as error:
            raise DataError(
                f"a column holds values of kinds that Parquet cannot join ({shown(str(error))}); write JSONL "
                "(--output_format jsonl)"
            ) from None

    def _without_rows(self) -> Any:
        import pyarrow

        schema = pyarrow.schema([]) if self.schema is None else self.schema.remove_metadata()
        for name, kind in self.added.items():
            schema = schema.append(pyarrow.field(name, _arrow_type(kind)))
        return schema


def _taken(rows: Sequence[tuple[Row, Added]]) -> Any:
    """The rows of Parquet batches, each column as it was."""
    import pyarrow

    tables: list[Any] = []
    taken: list[int] = []
    batch: Any = None
    for row, _ in rows:
        assert row.batch is not None
        if row.batch[0] is not batch and taken:
            tables.append(pyarrow.Table.from_batches([batch]).take(taken))
            taken = []
        batch = row.batch[0]
        taken.append(row.batch[1])
    return pyarrow.concat_tables([*tables, pyarrow.Table.from_batches([batch]).take(taken)])


def _arrow_type(kind: str) -> Any:
    import pyarrow

    number, text, index = pyarrow.float64(), pyarrow.string(), pyarrow.int64()
    numbers = pyarrow.list_(number)
    return {
        NUMBER: number,
        NUMBERS: numbers,
        LISTS: pyarrow.list_(numbers),
        TEXT: text,
        TEXTS: pyarrow.list_(text),
        INDEX: index,
        INDICES: pyarrow.list_(index),
    }[kind]


@contextmanager
def compressed(path: Path, file: IO[bytes]) -> Iterator[IO[bytes]]:
    """`file` itself, or where `path` ends with .gz what compresses into it; the same bytes whenever it is written."""
    if path.suffix.lower() != ".gz":
        yield file
        return
    with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed:
        yield cast(IO[bytes], packed)

"""A file of predictions as columns; a large one of one object a line is read by several processes.

Its lines go in batches to whichever process is free, and what each makes of them is put together in their order: the
columns, and the message about the first row that is malformed, are those of one process.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from surestep.data.records.helper_process import batches, helpers, helpers_for, in_order
from surestep.data.records.lines import read_lines
from surestep.data.records.record import Record, is_by_line, opens_array, read_objects, read_records, refuse_bad_row
from surestep.scoring.predictions.layouts import BY_STEP, LAYOUTS, LayoutOfFile, Part, parts_of
from surestep.scoring.predictions.row_columns import RowColumns
from surestep.scoring.predictions.sure_rows import SureRows, sure_rows

BATCH = 2**19
"""Characters of lines that are read together."""
LEAST_SURE = 2**16
"""Characters of a batch from which it is read as columns: what does that takes a sixth of a second to be imported."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class SomeRows:
    """Rows of a file, one behind the other: asked for as columns where they are `sure`, else one by one.

    Attributes:
        path: the file.
        of_file: the layout, once the first row was read.
        lines: whole lines of one object each.
        first_line: the number of the first of them.
        records: the rows where they are no lines.
    """

    path: Path
    of_file: LayoutOfFile
    lines: str = ""
    first_line: int = 1
    records: Iterable[Record] | None = None

    def sure(self) -> SureRows | None:
        """All of them; None where they have to be read one by one, which says what is wrong with them if anything is.

        Rows by solution are never sure, nor are those that tell the layout of their file.
        """
        is_known = self.of_file.number is not None and LAYOUTS[self.of_file.number] is BY_STEP
        return sure_rows(self.lines, self.first_line) if is_known and len(self.lines) >= LEAST_SURE else None

    def parts(self) -> Iterator[Part]:
        """One by one.

        Raises:
            DataError: a row is malformed, or of another layout than the first one of the file.
        """
        return parts_of(self._records() if self.records is None else self.records, self.of_file)

    def _records(self) -> Iterator[Record]:
        *whole, last = self.lines.split("\n")  # a last line without its end may be cut
        lines = [f"{line}\n" for line in whole] + ([last] if last else [])
        return read_objects(enumerate(lines, self.first_line), self.path, refuse_bad_row)


def read_shared(path: Path, function: Callable[[SomeRows], _Result]) -> Generator[_Result, None, None]:
    """`function` of all rows of a predictions file, some at a time, in order.

    Args:
        path: the file.
        function: of a module, or a `partial` of one: another process may work it out.

    Raises:
        DataError: the file is missing, cut, or what `function` raises.
    """
    of_file = LayoutOfFile()
    if not is_by_line(path):
        yield function(SomeRows(path, of_file, records=read_records(path)))
        return
    with closing(read_lines(path)) as all_lines, helpers(helpers_for([path]), _import_readers) as started:
        is_array, lines = opens_array(all_lines)
        if is_array:
            yield function(SomeRows(path, of_file, records=read_records(path)))
            return
        handed_over = (
            SomeRows(path, of_file, "".join([text for _, text in batch]), batch[0][0])
            for batch in batches(lines, BATCH, lambda line: len(line[1]))
        )
        # The first rows say the layout of the file, without which the others are not understood.
        for first in handed_over:
            yield function(first)
            break
        for _, found in in_order(function, ((rows,) for rows in handed_over), started):
            yield found


def read_columns(path: Path) -> RowColumns:
    """All rows of a predictions file, whatever its layout.

    Raises:
        DataError: it is missing, cut, or a row is malformed; the message names the line.
    """
    found = RowColumns(path)
    with closing(read_shared(path, _columns_of)) as parts:
        for columns in parts:
            found.extend(columns)
    return found


def _columns_of(rows: SomeRows) -> RowColumns:
    found = RowColumns(rows.path)
    sure = rows.sure()
    if sure is not None:
        found.add_rows(sure)
        return found
    for part in rows.parts():
        for row in part.rows:
            found.add(row, part.record.line, may_lack_confidence=part.is_solution)
    return found


def _import_readers() -> None:
    """Called in a process that helps: this module and what it reads columns with are there, then."""
    import pyarrow.json  # noqa: F401

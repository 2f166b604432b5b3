"""A file of predictions as columns; a large one of one object a line is read by several processes.

Its lines go in batches to whichever process is free, and what each makes of them is put together in their order: the
columns, and the message about the first row that is malformed, are those of one process.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from surestep.data.records.helper_process import batches, helpers, helpers_for, in_order
from surestep.data.records.lines import read_lines
from surestep.data.records.record import Record, is_by_line, opens_array, read_objects, read_records, refuse_bad_row
from surestep.data.trees.problem_rows import BATCH, Lines
from surestep.scoring.predictions.layouts import LayoutOfFile, parts_of
from surestep.scoring.predictions.row_columns import RowColumns


def read_columns(path: Path) -> RowColumns:
    """All rows of a predictions file, whatever its layout.

    Raises:
        DataError: it is missing, cut, or a row is malformed; the message names the line.
    """
    of_file = LayoutOfFile()
    if not is_by_line(path):
        return _columns_of(read_records(path), path, of_file)
    with closing(read_lines(path)) as all_lines, helpers(helpers_for([path]), _import_readers) as started:
        is_array, lines = opens_array(all_lines)
        if is_array:
            return _columns_of(read_records(path), path, of_file)
        handed_over = batches(lines, BATCH, lambda line: len(line[1]))
        # The first rows say the layout of the file, without which the others are not understood.
        found = _columns_of(read_objects(next(handed_over, []), path, refuse_bad_row), path, of_file)
        tasks = ((path, of_file, batch) for batch in handed_over)
        for _, columns in in_order(_columns_of_lines, tasks, started):
            found.extend(columns)
    return found


def _columns_of_lines(path: Path, of_file: LayoutOfFile, lines: Lines) -> RowColumns:
    return _columns_of(read_objects(lines, path, refuse_bad_row), path, of_file)


def _columns_of(records: Iterable[Record], path: Path, of_file: LayoutOfFile) -> RowColumns:
    found = RowColumns(path)
    for part in parts_of(records, of_file):
        for row in part.rows:
            found.add(row, part.record.line, may_lack_confidence=part.is_solution)
    return found


def _import_readers() -> None:
    """Called in a process that helps: this module is there, then."""

"""Rows that contradict their layout: the reading stops, or leaves them out and says so. One policy for all readers.

A broken file (cut, not JSON, not UTF-8) always stops, because nobody knows what it lacks. A row is taken whole or not
at all: what a reader counted before it found the fault is forgotten with the row. Knows no layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, TypeVar, get_args

from surestep.data.records.reading_report import ReadReport, WatchedReport
from surestep.data.records.record import PathOrPaths, Record, about_rows, read_objects, read_records
from surestep.data.records.row_file import RowFile, row_files
from surestep.errors import BadRowError

BadRows = Literal["stop", "skip"]
"""What a reader does with such a row; the field `data.bad_rows`."""

HINT = "correct or remove the row, or leave such rows out with --bad_rows skip"
MAX_REASON = 160
"""Longest reason that a report shows of a row left out, in characters."""

_Row = TypeVar("_Row")


def read_rows(
    paths: PathOrPaths,
    parse: Callable[[Record, ReadReport], _Row],
    *,
    report: ReadReport,
    bad_rows: BadRows = "stop",
    fetch: str | None = None,
) -> Iterator[_Row]:
    """What `parse` makes of every row, in the files' order.

    Args:
        paths: the files.
        parse: makes something of one row, counting into the report that it is given; it changes nothing else.
        report: counts the rows read, what `parse` counted in those that were taken, and each row left out with its
            place and reason.
        bad_rows: `stop` raises at the first row that contradicts the layout; `skip` leaves such rows out.
        fetch: see `read_records`.

    Raises:
        DataError: a file is broken; with `stop`, a row contradicts the layout (the line names `--bad_rows skip`).
    """
    files = row_files(paths)
    expect_rows(files, report)
    for file in files:
        yield from rows_of_file(file, parse, report=report, bad_rows=bad_rows, fetch=fetch)


def expect_rows(files: Iterable[RowFile], report: ReadReport) -> None:
    """Tell whoever watches how many rows there will be, where all files say so."""
    if isinstance(report, WatchedReport):
        counted_rows = [about_rows(file.path) for file in files]
        if None not in counted_rows:
            report.expect("records", sum(filter(None, counted_rows)))


def rows_of_file(
    file: RowFile,
    parse: Callable[[Record, ReadReport], _Row],
    *,
    report: ReadReport,
    bad_rows: BadRows,
    fetch: str | None = None,
) -> Iterator[_Row]:
    """`read_rows` of one file."""
    policy = _Policy(report, bad_rows)
    yield from policy.taken(read_records(file.path, fetch=fetch, on_bad_row=policy.refuse), file, parse)


def rows_of_lines(
    lines: Iterable[tuple[int, str]],
    file: RowFile,
    parse: Callable[[Record, ReadReport], _Row],
    *,
    report: ReadReport,
    bad_rows: BadRows,
) -> Iterator[_Row]:
    """`read_rows` of some numbered lines of a file of one object a line."""
    policy = _Policy(report, bad_rows)
    yield from policy.taken(read_objects(lines, file.path, policy.refuse), file, parse)


class _Policy:
    """What becomes of each row, and what is counted."""

    def __init__(self, report: ReadReport, bad_rows: BadRows) -> None:
        if bad_rows not in get_args(BadRows):
            raise ValueError(f"bad_rows {bad_rows!r}; allowed: {', '.join(get_args(BadRows))}")
        self._report, self._bad_rows = report, bad_rows

    def refuse(self, error: BadRowError) -> None:
        """A row is no record."""
        self._report.count("records")
        _leave_out(error, self._report, self._bad_rows)

    def taken(
        self, records: Iterable[Record], file: RowFile, parse: Callable[[Record, ReadReport], _Row]
    ) -> Iterator[_Row]:
        """What `parse` makes of the records that do not contradict their layout."""
        report, counted = self._report, ReadReport()
        for record in records:
            report.count("records")
            if not counted.is_empty():  # nearly every row leaves it so
                counted = ReadReport()
            try:
                row = parse(file.renamed(record), counted)
            except BadRowError as error:
                _leave_out(error, report, self._bad_rows)
                continue
            if not counted.is_empty():
                report.merge(counted)
            yield row


def _leave_out(error: BadRowError, report: ReadReport, bad_rows: BadRows) -> None:
    if bad_rows == "stop":
        raise BadRowError(f"{error.reason}; {HINT}", path=error.path, line=error.line, number=error.number) from None
    reason = error.reason if len(error.reason) <= MAX_REASON else f"{error.reason[: MAX_REASON - 1]}…"
    report.count("bad_row", where=f"{error.place}: {reason}")

"""Rows of files to trees, where the rows of one problem share a tree: read, then merged.

What a layout says is how it reads one row (`parse`); here is what becomes of it. Large files of one object a line are
read by several processes, with the same trees, counts and errors as by one. Knows no layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from surestep.data.records.bad_rows import BadRows, expect_rows, read_rows, rows_of_file, rows_of_lines
from surestep.data.records.helper_process import HelperProcess, batches, in_order
from surestep.data.records.labels import LabelWords
from surestep.data.records.lines import read_lines
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import PathOrPaths, is_by_line, opens_array
from surestep.data.records.row_file import RowFile, row_files
from surestep.data.trees.problem_records import Problems, RecordSteps, SpelledRecord
from surestep.errors import DataError
from surestep.types import ReasoningTree

BATCH = 2**19
"""Characters of lines that are handed over at once."""

Lines = list[tuple[int, str]]


@dataclass(frozen=True)
class ProblemRows:
    """How the rows of a layout become trees.

    Attributes:
        parse: makes the steps of one row, counting into the report that it is given, or None where the row is left out;
            changes nothing else. Can be pickled.
        reads_words: whether `parse` takes `words`, for a column of labels that may be words.
        drop_unlabelled_tails: see `TreeBuilder.columns`.
        fetch: see `read_lines`.
    """

    parse: Callable[..., RecordSteps | None]
    reads_words: bool = False
    drop_unlabelled_tails: bool = False
    fetch: str | None = None

    def trees(self, paths: PathOrPaths, *, report: ReadReport, bad_rows: BadRows = "stop") -> Iterator[ReasoningTree]:
        """One tree for each problem, in order of first appearance.

        Raises:
            DataError: see `read_rows`.
        """
        problems = self.problems(paths, report=report, bad_rows=bad_rows)
        yield from problems.trees(report, drop_unlabelled_tails=self.drop_unlabelled_tails)

    def problems(
        self, paths: PathOrPaths, *, report: ReadReport, bad_rows: BadRows, started: Sequence[HelperProcess] = ()
    ) -> Problems:
        """The rows of all files, by problem.

        Args:
            paths: the files.
            report: see `read_rows`.
            bad_rows: likewise.
            started: processes that help.

        Raises:
            DataError: see `read_rows`.
        """
        problems, words = Problems(), LabelWords()
        if not started:
            for steps in read_rows(paths, self._parse(words), report=report, bad_rows=bad_rows, fetch=self.fetch):
                if steps is not None:
                    problems.add(steps)
            return problems
        files = row_files(paths)
        expect_rows(files, report)
        for file in files:
            for record in self._of_file(file, words, report, bad_rows, started):
                problems.add_spelled(record)
        return problems

    def _parse(self, words: LabelWords) -> Callable[..., RecordSteps | None]:
        return partial(self.parse, words=words) if self.reads_words else self.parse

    def _of_file(
        self,
        file: RowFile,
        words: LabelWords,
        report: ReadReport,
        bad_rows: BadRows,
        started: Sequence[HelperProcess],
    ) -> Iterator[SpelledRecord]:
        is_array = True
        if is_by_line(file.path):
            with closing(read_lines(file.path, fetch=self.fetch)) as all_lines:
                is_array, lines = opens_array(all_lines)
                if not is_array:
                    tasks = (
                        (self, file, bad_rows, batch) for batch in batches(lines, BATCH, lambda line: len(line[1]))
                    )
                    for task, found in in_order(_parse_lines, tasks, started):
                        yield from self._accepted(found, task[-1], file, words, report, bad_rows)
        if is_array:
            for steps in rows_of_file(file, self._parse(words), report=report, bad_rows=bad_rows, fetch=self.fetch):
                if steps is not None:
                    yield steps.spelled()

    def _accepted(
        self,
        found: _ParsedLines,
        lines: Lines,
        file: RowFile,
        words: LabelWords,
        report: ReadReport,
        bad_rows: BadRows,
    ) -> Iterable[SpelledRecord]:
        """What was made of some lines without knowing those before them, where that is what would be made knowing them;
        else they are read once more, here and in their turn."""
        is_same = words.go_on_with(found.words) and not (found.words.are_known and found.report["bad_row"])
        if found.records is not None and is_same:
            report.merge(found.report)
            return found.records
        parsed = rows_of_lines(lines, file, self._parse(words), report=report, bad_rows=bad_rows)
        return (steps.spelled() for steps in parsed if steps is not None)


@dataclass(slots=True)
class _ParsedLines:
    """What was made of some lines: no `records` where one of them stops the reading."""

    records: list[SpelledRecord] | None
    report: ReadReport
    words: LabelWords


def _parse_lines(rows: ProblemRows, file: RowFile, bad_rows: BadRows, lines: Lines) -> _ParsedLines:
    report, words = ReadReport(), LabelWords()
    parsed = rows_of_lines(lines, file, rows._parse(words), report=report, bad_rows=bad_rows)
    try:
        records = [steps.spelled() for steps in parsed if steps is not None]
    except DataError:
        return _ParsedLines(None, report, words)
    return _ParsedLines(records, report, words)

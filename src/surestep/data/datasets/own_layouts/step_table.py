"""A flat table: a row is one step, with its problem, its text and its label.

`solution_id` says which solution of the problem a row is of, `step_index` which step. Where there is no `solution_id`,
consecutive rows of one problem are one solution, and a `step_index` that does not rise begins another.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from surestep.data.datasets.dataset import Dataset, RowKeys
from surestep.data.records.bad_rows import BadRows, read_rows
from surestep.data.records.disk_list import DiskList
from surestep.data.records.labels import LabelWords, read_label, read_name, whole_number
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record
from surestep.data.trees.problem_records import Problems, RecordSteps, grouped, key_of_text
from surestep.types import ROOT, ReasoningTree

VERSION = 1
"""Changes whenever the trees made from the same file change."""

FIELDS = frozenset({"problem", "step", "label", "solution_id", "step_index", "group", "source"})
BY_ORDER = (
    "rows without a solution_id: consecutive rows of one problem are one solution; a step_index that does not rise "
    "begins another"
)


def read_step_table(paths: PathOrPaths, *, report: ReadReport, bad_rows: BadRows = "stop") -> Iterator[ReasoningTree]:
    """One tree for each problem; its solutions share their common steps.

    Args:
        paths: any file of rows.
        report: counts unlabelled steps and unknown columns, and notes where solutions are told by the order of rows.
        bad_rows: see `read_rows`.

    Raises:
        DataError: naming file and line: a broken file; two texts for one step of a solution; where rows are not
            skipped, an empty problem or step, or a label out of range.
    """
    table, problems = _Table(), Problems()
    for row in read_rows(paths, partial(_parse, words=LabelWords()), report=report, bad_rows=bad_rows):
        table.add(row)
    if table.num_by_order:
        report.note(BY_ORDER)
    for rows in table.solutions():
        problems.add(_solution(rows))
    yield from problems.trees(report, drop_unlabelled_tails=False)


@dataclass(frozen=True, slots=True)
class _Row:
    """One step."""

    path: str
    line: int
    number: int
    problem: str
    step: str
    confidence: float | None
    solution: str
    index: int | None
    group: str

    def record(self) -> Record:
        """Its place, for errors and names."""
        return Record({}, Path(self.path), self.line, self.number)


def _parse(record: Record, report: ReadReport, *, words: LabelWords) -> _Row:
    if unknown := sorted(map(str, record.values.keys() - FIELDS)):
        report.count("fields_not_read", where=f"{record.place}: {', '.join(unknown)}")
    problem, step = record.text("problem"), record.text("step")
    if not step.strip():
        raise record.error("'step' is empty; remove the row")
    if not problem.strip():
        raise record.error("the problem is empty; allowed: text")
    confidence = read_label(record, record.get("label"), "'label'", words)
    report.count("missing_label", int(confidence is None))
    return _Row(
        str(record.path),
        record.line,
        record.number,
        problem,
        step,
        confidence,
        read_name(record, "solution_id"),
        whole_number(record, record.get("step_index"), "'step_index'"),
        read_name(record, "group"),
    )


@dataclass(slots=True)
class _Table:
    """Rows that wait on the disk, and which solution each is of."""

    num_by_order: int = 0
    _rows: DiskList = field(default_factory=DiskList)
    _keys: array[int] = field(default_factory=lambda: array("Q"))
    _before: _Row | None = None
    _run: int = 0

    def add(self, row: _Row) -> None:
        """Take the next row of the files."""
        if row.solution:
            self._keys.extend(key_of_text(f"{len(row.solution)} {row.solution}{row.problem}"))
            self._before = None
        else:
            self._run += not self._goes_on(row)
            self._keys.extend((0, self._run))
            self.num_by_order += 1
            self._before = row
        self._rows.append([getattr(row, name) for name in _Row.__slots__])

    def _goes_on(self, row: _Row) -> bool:
        before = self._before
        if before is None or (before.path, before.problem) != (row.path, row.problem):
            return False
        return before.index is None if row.index is None else before.index is not None and row.index > before.index

    def solutions(self) -> Iterator[list[_Row]]:
        """The rows of each solution."""
        for numbers in grouped(np.array(self._keys, np.uint64).reshape(-1, 2)):
            yield [_Row(*self._rows[number]) for number in numbers.tolist()]
        self._rows.close()


def _solution(rows: list[_Row]) -> RecordSteps:
    """The steps of one solution, in the order of their index, or as they stand where there is none."""
    first = rows[0].record()
    if any(row.index is None for row in rows):
        if any(row.index is not None for row in rows):
            raise first.error(
                f"some rows of solution {rows[0].solution!r} have no step_index; give one to each or to none"
            )
    else:
        rows = sorted(rows, key=lambda row: (row.index or 0, row.step))
        for one, other in pairwise(rows):
            if one.index == other.index and one.step.strip() != other.step.strip():
                raise other.record().error(
                    f"step_index {other.index} of one solution has two texts; give each solution its own solution_id"
                )
    group = min((row.group for row in rows if row.group), default="")
    found = RecordSteps(first, rows[0].problem, group=group)
    parent = before = ROOT
    index: int | None = None
    for row in rows:
        # One more rating of the same step follows the same step before it.
        parent = parent if row.index is not None and row.index == index else before
        before, index = found.add(row.step, parent, confidence=row.confidence), row.index
    return found


DATASET = Dataset(
    name="step_table",
    title="a table with a row for each step: problem, step, label",
    read=read_step_table,
    version=str(VERSION),
    rows=(RowKeys(("problem", "step", "label")),),
)

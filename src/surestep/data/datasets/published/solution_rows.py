"""Rows that list a solution's steps with their verdicts, on the one road that ProcessBench's own rows take.

A reader of such rows only says what a row holds (`JudgedSolution`); how steps are cleaned, what becomes of an empty one
and what is counted is decided where ProcessBench is read. Knows no set in particular.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from surestep.counted import counted
from surestep.data.datasets.processbench import Solution, solution_of, tree_of
from surestep.data.records.bad_rows import BadRows, read_rows
from surestep.data.records.labels import as_integer
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record
from surestep.data.trees.tree_builder import TreeBuilder, finish
from surestep.types import ROOT, ReasoningTree
from surestep.untrusted.bounds import shown
from surestep.untrusted.json_text import parse_json
from surestep.untrusted.python_text import parse_python
from surestep.untrusted.whole_numbers import whole_number

NO_ERROR = -1
NO_ERROR_WORDS = frozenset({"", "n/a", "na", "none", "null", "-1"})
"""What stands in place of a number where no step is wrong, in small letters."""


@dataclass(frozen=True, slots=True)
class JudgedSolution:
    """What a row says of one solution.

    Attributes:
        id: its name; "" where the row has none.
        problem: its text.
        steps: as listed, empty ones among them.
        first_wrong: index of the first wrong step, `NO_ERROR` where all are right.
        labels: of every step, where each was judged; empty where only the first wrong one is known.
    """

    id: str
    problem: str
    steps: list[Any]
    first_wrong: int
    labels: list[float | None] = field(default_factory=list)


Judge = Callable[[Record, ReadReport], Iterable[JudgedSolution]]
"""The solutions of a row; it counts what it leaves out."""


class SolutionReaders:
    """The two readers of a set: trees to learn from or look at, and solutions for benchmarks.

    Args:
        judge: the solutions of a row.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def trees(self, paths: PathOrPaths, *, report: ReadReport, bad_rows: BadRows = "stop") -> Iterator[ReasoningTree]:
        """One tree (a single path) for each solution.

        Steps behind the first wrong one have a label only where the set judges each step. An empty step is dropped with
        whatever follows it.

        Raises:
            DataError: naming file and line: a broken file; where rows are not skipped, a row of another layout.
        """
        for read in read_rows(paths, self._trees, report=report, bad_rows=bad_rows):
            yield from read

    def solutions(self, paths: PathOrPaths, *, report: ReadReport, bad_rows: BadRows = "stop") -> Iterator[Solution]:
        """Every solution with the index of its first wrong step.

        Raises:
            DataError: as `trees`.
        """
        for read in read_rows(paths, self._solutions, report=report, bad_rows=bad_rows):
            yield from read

    def _trees(self, record: Record, report: ReadReport) -> list[ReasoningTree]:
        found = []
        for number, solution in enumerate(self._judge(record, report), start=1):
            row = _row(record, solution, number)
            tree = _labelled(row, solution, report) if solution.labels else tree_of(row, report)
            found += [] if tree is None else [tree]
        return found

    def _solutions(self, record: Record, report: ReadReport) -> list[Solution]:
        made = enumerate(self._judge(record, report), start=1)
        found = (solution_of(_row(record, solution, number), report) for number, solution in made)
        return [solution for solution in found if solution is not None]


def _row(record: Record, solution: JudgedSolution, number: int) -> Record:
    """In ProcessBench's layout; the second solution of one row without ids is not named as the first."""
    values: dict[str, Any] = {"problem": solution.problem, "steps": solution.steps, "label": solution.first_wrong}
    name = solution.id or ("" if number == 1 else f"{record.path.name.split('.')[0]}:{record.line}/{number}")
    return record.inner(values | ({"id": name} if name else {}), "the row")


def _labelled(row: Record, solution: JudgedSolution, report: ReadReport) -> ReasoningTree | None:
    """A solution of which every step was judged."""
    if len(solution.labels) != len(solution.steps):
        raise row.error(
            f"{counted(len(solution.labels), 'label')} for {counted(len(solution.steps), 'step')}; give one each"
        )
    if not solution.problem.strip():
        raise row.error("the problem is empty; allowed: text")
    place = f"{row.path.name.split('.')[0]}:{row.number or row.line}"
    builder = TreeBuilder(solution.problem, id=row.values.get("id") or place)
    parent = ROOT
    for number, (value, label) in enumerate(zip(solution.steps, solution.labels, strict=True), start=1):
        text = row.as_text(value, f"step {number}")
        if not text.strip():
            report.count("empty_step", where=row.place)
            break
        report.count("missing_label", int(label is None))
        parent = builder.add(text, parent, confidence=label)
    if len(builder) == 0:
        report.count("no_steps", where=row.place)
        return None
    return finish(builder, report)


def listed(record: Record, name: str) -> list[Any]:
    """A field that is a list, or a text that spells one, as JSON or as Python writes it; null is the empty list.

    Raises:
        DataError: it is neither.
    """
    value = record.get(name)
    if isinstance(value, str):
        value = spelled(record, value, f"'{name}'")
    return record.inner({name: value}, "the row").items(name)


def spelled(record: Record, text: str, what: str) -> Any:
    """The value that a text spells, as JSON or as Python writes it.

    Raises:
        DataError: it is neither.
    """
    try:
        return parse_json(text)
    except (ValueError, RecursionError):
        pass
    try:
        return parse_python(text)
    except ValueError:
        raise record.error(f"{what} is {shown(text)}; allowed: a list, or a text that spells one") from None


def error_number(record: Record, name: str, *, base: int) -> int | None:
    """The index, from 0, of the step that a field names, which counts from `base`; None where it names none.

    A number may be written as text ("2") or as 2.0; no error is null, -1, "N/A" or blank text.

    Raises:
        DataError: anything else, or a number below `base`.

    >>> from pathlib import Path
    >>> row = Record({"a": "2", "b": "N/A", "c": 0}, Path("x.jsonl"), 1)
    >>> error_number(row, "a", base=1), error_number(row, "b", base=1), error_number(row, "c", base=0)
    (1, None, 0)
    """
    value = record.get(name)
    if isinstance(value, str):
        text = value.strip()
        number = whole_number(text)
        value = None if text.lower() in NO_ERROR_WORDS else value if number is None else number
    number = as_integer(value)
    if value is None or number == NO_ERROR:
        return None
    if number is None or number < base:
        raise record.error(
            f"'{name}' is {shown(record.get(name))}; allowed: the number of the first wrong step, counted from {base}, "
            "or null, -1 or 'N/A' where no step is wrong"
        )
    return number - base


def first_wrong_of(labels: Iterable[float | None]) -> int:
    """Index of the first label below 0.5, `NO_ERROR` where there is none.

    >>> first_wrong_of([1.0, None, 0.0])
    2
    """
    return next((index for index, label in enumerate(labels) if label is not None and label < 0.5), NO_ERROR)

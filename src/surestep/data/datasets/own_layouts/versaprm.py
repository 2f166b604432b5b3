"""VersaPRM: a question with several solutions, each with a label for every step and other steps in place of some.

Layout: https://github.com/UW-Madison-Lee-Lab/VersaPRM, `question` and `chain_of_thoughts`, a list of `{steps, labels,
augs}`. As its authors train on it, 1 is right and every other label wrong; an `aug` stands in place of the step
`aug_idx`, and is right where its `aug_type` is 1 or 0.
"""

from __future__ import annotations

from collections.abc import Iterator

from surestep.counted import counted
from surestep.data.datasets.dataset import Dataset, RowKeys
from surestep.data.records.bad_rows import BadRows
from surestep.data.records.labels import whole_number
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record
from surestep.data.trees.problem_records import RecordSteps
from surestep.data.trees.problem_rows import ProblemRows
from surestep.types import ROOT, ReasoningTree

VERSION = 1
"""Changes whenever the trees made from the same file change."""

_LABELS = {1: 1.0, 0: 0.0, -1: 0.0, None: None}
_AUG_TYPES = {1: 1.0, 0: 1.0}


def read_versaprm(paths: PathOrPaths, *, report: ReadReport, bad_rows: BadRows = "stop") -> Iterator[ReasoningTree]:
    """One tree for each question; its solutions share their common steps, and `augs` are siblings.

    Args:
        paths: any file of rows.
        report: counts unlabelled steps.
        bad_rows: see `read_rows`.

    Raises:
        DataError: naming file and line: a broken file; where rows are not skipped, no solution, no step, an empty step,
            a label that is not 1, 0, -1 or null, not as many as steps, or an `aug_idx` outside the steps.
    """
    yield from _rows().trees(paths, report=report, bad_rows=bad_rows)


def _rows() -> ProblemRows:
    return ProblemRows(_parse)


def _parse(record: Record, report: ReadReport) -> RecordSteps:
    found = RecordSteps(record, record.text("question"))
    solutions = record.items("chain_of_thoughts")
    if not solutions:
        raise record.error("'chain_of_thoughts' is empty; allowed: at least one solution")
    for number, value in enumerate(solutions, start=1):
        _add_solution(found, record.inner(value, f"solution {number}"), f"solution {number}", report)
    return found


def _add_solution(found: RecordSteps, solution: Record, what: str, report: ReadReport) -> None:
    steps, labels = solution.items("steps"), solution.items("labels")
    if not steps:
        raise solution.error(f"'steps' of {what} is empty; allowed: at least one step")
    labels = labels or [None] * len(steps)
    if len(labels) != len(steps):
        raise solution.error(
            f"{what} has {counted(len(labels), 'label')} for {counted(len(steps), 'step')}; give one each, null if "
            "unknown"
        )
    parents = [ROOT]
    for number, (value, label) in enumerate(zip(steps, labels, strict=True), start=1):
        text = _step(solution, value, f"step {number} of {what}")
        rating = whole_number(solution, label, f"the label of step {number} of {what}", "1, 0, -1 or null")
        if rating not in _LABELS:
            raise solution.error(f"the label of step {number} of {what} is {label!r}; allowed: 1, 0, -1 or null")
        report.count("missing_label", int(rating is None))
        parents.append(found.add(text, parents[-1], confidence=_LABELS[rating]))
    for number, value in enumerate(solution.items("augs"), start=1):
        name = f"aug {number} of {what}"
        aug = solution.inner(value, name)
        place = whole_number(aug, aug.get("aug_idx"), f"'aug_idx' of {name}")
        if place is None or not 0 <= place <= len(steps):
            raise solution.error(f"'aug_idx' of {name} is {place}; allowed: 0 to {len(steps)}")
        # Other types than these two are kinds of mistakes, named in other ways.
        kind = aug.get("aug_type")
        is_right = isinstance(kind, int | float) and kind in _AUG_TYPES
        found.add(_step(aug, aug.get("aug_step"), name), parents[place], confidence=float(is_right))


def _step(record: Record, value: object, what: str) -> str:
    text = record.as_text(value, what)
    if not text.strip():
        raise record.error(f"{what} is empty; remove it with its label")
    return text


def _has_solutions(row: Record) -> bool:
    """Whether the chains are solutions, not the steps of one."""
    chains = row.seen("chain_of_thoughts")
    return isinstance(chains, list) and any(isinstance(chain, dict) and "steps" in chain for chain in chains)


DATASET = Dataset(
    name="versaprm",
    title="questions with solutions in chain_of_thoughts, every step labelled",
    spelling="VersaPRM",
    page="https://github.com/UW-Madison-Lee-Lab/VersaPRM",
    read=read_versaprm,
    problem_rows=_rows,
    version=str(VERSION),
    rows=(RowKeys(("question", "chain_of_thoughts"), _has_solutions),),
)

"""RLHFlow's layout: a chat in which the user says one step a turn and the assistant answers `+` or `-`.

    {"conversations": [{"role": "user", "content": "problem Step 1: ..."}, {"role": "assistant", "content": "+"},
     {"role": "user", "content": "Step 2: ..."}, {"role": "assistant", "content": "-"}]}

The first turn holds the problem and the first step, divided as Math-Shepherd's are; the labels were made by a model
that completed each step many times. Turns may stand under `messages`, and be called `from` and `value`. Layout:
https://huggingface.co/datasets/RLHFlow/Mistral-PRM-Data.
"""

from __future__ import annotations

from collections.abc import Iterator

from surestep.data.datasets.dataset import Dataset
from surestep.data.datasets.math_shepherd import split_problem
from surestep.data.records.bad_rows import BadRows, read_rows
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record
from surestep.data.trees.problem_records import Problems, RecordSteps
from surestep.types import ROOT, ReasoningTree
from surestep.untrusted.bounds import shown

VERSION = 1
"""Changes whenever the trees made from the same file change."""

_VERDICTS = {"+": 1.0, "-": 0.0}
_ROLES = {"human": "user", "gpt": "assistant"}
"""What else roles are called."""


def read_rlhflow(paths: PathOrPaths, *, report: ReadReport, bad_rows: BadRows = "stop") -> Iterator[ReasoningTree]:
    """One tree for each problem; its solutions share their common steps.

    Args:
        paths: .jsonl, .json, or either gzipped.
        report: counts what was repaired.
        bad_rows: see `read_rows`.

    Raises:
        DataError: naming file and line: a broken file; where rows are not skipped, turns in another order, an answer
            that is neither + nor -, or a problem whose end cannot be found.
    """
    problems = Problems()
    for steps in read_rows(paths, _parse, report=report, bad_rows=bad_rows):
        problems.add(steps)
    yield from problems.trees(report, drop_unlabelled_tails=False)


def _parse(record: Record, report: ReadReport) -> RecordSteps:
    turns = [_turn(record, number, value) for number, value in enumerate(_turns(record), start=1)]
    pieces, verdicts = [text for _, text in turns[::2]], [text.strip() for _, text in turns[1::2]]
    for number, (role, _) in enumerate(turns, start=1):
        if role != ("user" if number % 2 else "assistant"):
            raise record.error(f"turn {number} is of {shown(role)}; allowed: a step of the user, then + or - in turn")
    if not pieces or len(verdicts) != len(pieces):
        raise record.error(f"{len(pieces)} steps of the user and {len(verdicts)} answers; give one each")
    for number, verdict in enumerate(verdicts, start=1):
        if verdict not in _VERDICTS:
            raise record.error(f"answer {number} is {shown(verdict)}; allowed: + or -")
    problem, steps = split_problem(record, pieces, report, what="the first turn")
    found = RecordSteps(record, problem)
    parent = ROOT
    # Turns within the problem's text stand before those of the steps, as Math-Shepherd's tags do.
    for number, (step, verdict) in enumerate(zip(steps, verdicts[-len(steps) :], strict=True), start=1):
        if not step.strip():
            raise record.error(f"step {number} is empty; remove it with its answer")
        parent = found.add(step.strip(), parent, confidence=_VERDICTS[verdict])
    return found


def _turns(record: Record) -> list[object]:
    return record.items("conversations" if record.get("conversations") is not None else "messages")


def _turn(record: Record, number: int, value: object) -> tuple[str, str]:
    """Role and text."""
    turn = record.inner(value, f"turn {number}")
    role = turn.optional_text("role") or turn.text("from")
    return _ROLES.get(role, role), turn.text("content" if turn.get("content") is not None else "value")


DATASET = Dataset(
    name="rlhflow",
    title="chats in which the user says a step and the assistant answers + or -",
    spelling="RLHFlow",
    page="https://huggingface.co/datasets/RLHFlow/Mistral-PRM-Data",
    read=read_rlhflow,
    keys=(frozenset({"conversations"}),),
    version=str(VERSION),
)

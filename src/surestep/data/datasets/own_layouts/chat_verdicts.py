"""Chats whose user turns are the steps and whose assistant turns judge them, + or -.

Layout: https://huggingface.co/datasets/RLHFlow/Mistral-PRM-Data, `conversations` of `{role, content}`. The first user
turn holds the problem and the first step; where the problem ends is told as in Math-Shepherd's rows, or by a column
`problem`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from surestep.data.datasets.dataset import Dataset, RowKeys
from surestep.data.datasets.math_shepherd import split_problem
from surestep.data.records.bad_rows import BadRows
from surestep.data.records.labels import WORDS, LabelWords, read_label
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record
from surestep.data.trees.problem_records import RecordSteps
from surestep.data.trees.problem_rows import ProblemRows
from surestep.types import ROOT, ReasoningTree

VERSION = 1
"""Changes whenever the trees made from the same file change."""

_ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "system": "system"}
"""Name of a role -> role: `role` and `content` name a turn's parts, or `from` and `value`."""


def read_chat_verdicts(
    paths: PathOrPaths, *, report: ReadReport, bad_rows: BadRows = "stop"
) -> Iterator[ReasoningTree]:
    """One tree for each problem; its chats share their common steps.

    Args:
        paths: any file of rows.
        report: counts unlabelled steps and repairs, and notes that system turns are left out.
        bad_rows: see `read_rows`.

    Raises:
        DataError: naming file and line: a broken file; where rows are not skipped, turns that are not user and
            assistant by turns, a verdict that is none, an empty step, or a problem whose end cannot be found.
    """
    yield from _rows().trees(paths, report=report, bad_rows=bad_rows)


def _rows() -> ProblemRows:
    return ProblemRows(_parse, reads_words=True)


def _parse(record: Record, report: ReadReport, *, words: LabelWords) -> RecordSteps:
    turns = [_turn(record, value, number) for number, value in enumerate(record.items(_key(record)), start=1)]
    if turns and turns[0][0] == "system":
        report.note("system turns of chats are left out: they are no part of the problem")
        turns = turns[1:]
    roles = [role for role, _ in turns]
    if not turns or any(role != ("user", "assistant")[place % 2] for place, role in enumerate(roles)):
        raise record.error(
            "the turns are not user and assistant by turns; allowed: a step, then its verdict, and so on"
        )
    problem, first = _first_step(record, turns[0][1], report)
    found = RecordSteps(record, problem)
    parent = ROOT
    for place in range(0, len(turns), 2):
        number, text = place // 2 + 1, (turns[place][1] if place else first).strip()
        if not text:
            raise record.error(f"step {number} is empty; remove its two turns")
        verdict = turns[place + 1][1] if place + 1 < len(turns) else None
        confidence = read_label(record, verdict, f"the verdict on step {number}", words)
        report.count("missing_label", int(confidence is None))
        parent = found.add(text, parent, confidence=confidence)
    return found


def _key(row: Record) -> str:
    return "conversations" if "conversations" in row.values else "messages"


def _turn(record: Record, value: Any, number: int) -> tuple[str, str]:
    """Role and text of a turn."""
    turn = record.inner(value, f"turn {number}")
    role = turn.get("from") if turn.get("role") is None else turn.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise record.error(f"the role of turn {number} is {role!r}; allowed: {', '.join(_ROLES)}")
    return _ROLES[role], turn.text("content" if turn.get("content") is not None else "value")


def _first_step(record: Record, text: str, report: ReadReport) -> tuple[str, str]:
    """The problem, and the step behind it in the first turn."""
    if record.get("problem") is not None:
        problem = record.text("problem").strip()
        return problem, text.strip().removeprefix(problem)
    problem, (step,) = split_problem(record, [text], report, what="the first turn")
    return problem, step


def _judges(row: Record) -> bool:
    """Whether an assistant's turn is a verdict: other chats are not for this reader."""
    turns = row.seen(_key(row))
    said = (
        [turn.get("content", turn.get("value")) for turn in turns if isinstance(turn, dict)]
        if isinstance(turns, list)
        else []
    )
    return any(isinstance(text, str) and text.strip() in WORDS["+ and -"] for text in said[1:])


DATASET = Dataset(
    name="chat_verdicts",
    title="chats whose assistant turns judge the steps of the user turns, + or -",
    page="https://huggingface.co/datasets/RLHFlow/Mistral-PRM-Data",
    read=read_chat_verdicts,
    problem_rows=_rows,
    version=str(VERSION),
    rows=(RowKeys(("conversations|messages",), _judges),),
)

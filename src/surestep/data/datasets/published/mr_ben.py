"""MR-Ben: solutions of seven subjects, each judged as a whole and with the number of its first wrong step.

    {"Question_UUID": "...", "Question": "...", "Options": "A: ...", "Sampled_Model": "...",
     "Model_Solution_Steps": ["Step 1: ...", "..."], "Model_Solution_Correctness": "incorrect",
     "Model_Solution_First_Error_Step": "2"}

A file holds a list of them, or one object with a list for each question. Steps are numbered by what is written in them,
"Step 2: ...", and a list may hold further lines, blank ones among them, so that "Step 2" need not be its second entry:
the number names the entry that begins with it, else (code has no such numbers) the entry at that place, from 1. Every
entry stays a step. Layout: https://github.com/dvlab-research/Mr-Ben, whose own program counts the step of `coding` as a
rough hint only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from surestep.data.datasets.dataset import Dataset, RemoteFile, RowKeys
from surestep.data.datasets.published.solution_rows import (
    NO_ERROR,
    JudgedSolution,
    SolutionReaders,
    error_number,
    listed,
)
from surestep.data.records.labels import read_name
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import Record
from surestep.untrusted.bounds import shown

VERSION = 1
"""Changes whenever the trees made from the same file change."""

_STEPS, _VERDICT = "Model_Solution_Steps", "Model_Solution_Correctness"
_NUMBER = "Model_Solution_First_Error_Step"
_WRITTEN = re.compile(r"\s*step\s*0*(\d+)\b", re.IGNORECASE)


def _judge(record: Record, report: ReadReport) -> Iterator[JudgedSolution]:
    for row in _rows(record):
        found = _judged(row, report)
        if found is not None:
            yield found


def _rows(record: Record) -> Iterable[Record]:
    """The solutions of a record, which may be a whole file: question to its solutions."""
    values = record.values
    if _STEPS in values or not values or not all(isinstance(value, list) for value in values.values()):
        return [record]
    return [
        record.inner(value, f"solution {number} of question {shown(name)}")
        for name, solutions in values.items()
        for number, value in enumerate(solutions, start=1)
    ]


def _judged(row: Record, report: ReadReport) -> JudgedSolution | None:
    verdict = str(row.get(_VERDICT) or "").strip().lower()
    if verdict not in {"correct", "incorrect"}:
        raise row.error(f"'{_VERDICT}' is {shown(row.get(_VERDICT))}; allowed: correct or incorrect")
    steps = listed(row, _STEPS)
    number = error_number(row, _NUMBER, base=1)
    if (number is None) != (verdict == "correct"):
        report.count("verdict_conflict", where=row.place)
        return None
    options = row.optional_text("Options") or ""
    problem = row.text("Question") + (f"\n{options}" if options.strip() else "")
    name = "/".join(part for part in (read_name(row, "Question_UUID"), read_name(row, "Sampled_Model")) if part)
    first = NO_ERROR if number is None else _place(steps, number + 1, report)
    return JudgedSolution(name, problem, steps, first)


def _place(steps: list[Any], number: int, report: ReadReport) -> int:
    """The index of the step that is called `number`."""
    names = [_WRITTEN.match(step) if isinstance(step, str) else None for step in steps]
    called = [index for index, name in enumerate(names) if name is not None and int(name[1][:9]) == number]
    place = called[0] if called else number - 1
    report.count("error_step_by_number", int(place != number - 1))
    return place


_READERS = SolutionReaders(_judge)
_FILES = "https://raw.githubusercontent.com/dvlab-research/Mr-Ben/{commit}/data/{name}"
_COMMITS = {
    "biology": "0f495fec332b49f9509d32d9e02b47c4f07fb44b",
    "chemistry": "2c91dd7eea683b9b7ac04fe4010cc8f74226df86",
    "coding": "2c91dd7eea683b9b7ac04fe4010cc8f74226df86",
    "math": "2c91dd7eea683b9b7ac04fe4010cc8f74226df86",
    "medicine": "86af0bb68d8742585876e1fe4c8cd57fb8db0003",
    "physics": "86af0bb68d8742585876e1fe4c8cd57fb8db0003",
}

DATASET = Dataset(
    name="mr_ben",
    title="solutions of seven subjects with the number of their first wrong step",
    spelling="MR-Ben",
    licence="none stated in its repository: ask its authors before you pass it on",
    use="a test; its labels name the first wrong step only",
    page="https://github.com/dvlab-research/Mr-Ben",
    read=_READERS.trees,
    read_solutions=_READERS.solutions,
    rows=(RowKeys(("Question", _STEPS, _VERDICT, _NUMBER)),),
    version=str(VERSION),
    judges_every_step=False,
    language="en",
    files=tuple(
        RemoteFile(f"{subject}.json", _FILES.format(commit=commit, name=f"{subject}.json"))
        for subject, commit in _COMMITS.items()
    ),
)

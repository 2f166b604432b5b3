"""ReasonEval's MR-MATH and MR-GSM8K: solutions with the number of their first wrong step.

    {"id": 0, "question": "...", "model_output_step_format": [["1. ..."], ["2. ...", "..."]],
     "model_output_solution_correctness": "wrong", "model_output_solution_first_error_step": 2}

Numbers count from 1; "N/A" is none. A step of `model_output_step_format` is a list of lines. MR-GSM8K has
`model_output_steps`, texts, and `uuid`. A solution that is judged wrong without a number is left out, as the authors'
own program does. Their file of redundant steps (`rating`) judges no step as wrong and is refused. Layout:
https://github.com/GAIR-NLP/ReasonEval and https://github.com/dvlab-research/MR-GSM8K.
"""

from __future__ import annotations

from collections.abc import Iterator
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

_LINES, _STEPS = "model_output_step_format", "model_output_steps"
_VERDICT, _NUMBER = "model_output_solution_correctness", "model_output_solution_first_error_step"
_WRONG = frozenset({"wrong", "incorrect"})


def _judge(record: Record, report: ReadReport) -> Iterator[JudgedSolution]:
    if "rating" in record.values and _NUMBER not in record.values:
        raise record.error(
            "'rating' says which steps are redundant, and all of them are right: there is no first error to find; name "
            "the file of invalid errors"
        )
    verdict = str(record.get(_VERDICT) or "").strip().lower()
    if verdict not in {"correct", *_WRONG}:
        raise record.error(f"'{_VERDICT}' is {shown(record.get(_VERDICT))}; allowed: correct, wrong or incorrect")
    number = error_number(record, _NUMBER, base=1)
    if (number is None) == (verdict in _WRONG):
        report.count("verdict_conflict", where=record.place)
        return
    steps = [_joined(record, step) for step in listed(record, _LINES if _LINES in record.values else _STEPS)]
    name = read_name(record, "uuid") or read_name(record, "id")
    yield JudgedSolution(name, record.text("question"), steps, NO_ERROR if number is None else number)


def _joined(record: Record, step: Any) -> Any:
    """A step as one text; what is no list of lines stays for the reader of steps to judge."""
    if not isinstance(step, list):
        return step
    return "\n".join(record.as_text(line, "a line of a step") for line in step)


_READERS = SolutionReaders(_judge)
_FILE = (
    "https://raw.githubusercontent.com/GAIR-NLP/ReasonEval/37d5d2885182b56fdec3ad3f38770e6b15bd353e/dataset/"
    "MR-MATH_invalid_errors.json"
)

DATASET = Dataset(
    name="reason_eval",
    title="MR-MATH and MR-GSM8K: solutions with the number of their first wrong step",
    spelling="ReasonEval (MR-MATH)",
    licence="none stated in its repository: ask its authors before you pass it on",
    use="a test; its labels name the first wrong step only",
    page="https://github.com/GAIR-NLP/ReasonEval",
    read=_READERS.trees,
    read_solutions=_READERS.solutions,
    rows=(
        RowKeys(("question", _LINES, _NUMBER)),
        RowKeys(("question", _STEPS, _NUMBER)),
        RowKeys(("question", _LINES, "rating")),
    ),
    version=str(VERSION),
    judges_every_step=False,
    language="en",
    files=(RemoteFile("MR-MATH_invalid_errors.json", _FILE),),
)

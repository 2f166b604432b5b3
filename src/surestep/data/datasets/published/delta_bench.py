"""DeltaBench: long chains of thought cut into sections, with the numbers of the sections that hold an error.

    {"id": "...", "question": "...", "task_l1": "math", "sections_content": "section1: ...\n\n\nsection2: ...",
     "reason_error_section_numbers": [2], "reason_unuseful_section_numbers": [4]}

Numbers count from 1. A section that is only not useful is no error here; the authors' own program counts it as one, so
their figures are not these. Where a row has `sections`, a list of objects with `content`, they are the steps, else
`sections_content` is cut at "section<k>:". In a CSV, lists stand as Python writes them. Layout:
https://github.com/OpenStellarTeam/DeltaBench.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from surestep.data.datasets.dataset import Dataset, RemoteFile, RowKeys
from surestep.data.datasets.published.solution_rows import (
    JudgedSolution,
    SolutionReaders,
    first_wrong_of,
    listed,
)
from surestep.data.records.labels import as_integer, read_name
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import Record
from surestep.untrusted.bounds import shown

VERSION = 1
"""Changes whenever the trees made from the same file change."""

_ERRORS, _NOT_USEFUL = "reason_error_section_numbers", "reason_unuseful_section_numbers"
_TEXTS = ("sections_content", "section_content")
_MARK = re.compile(r"(?:^|\n)section\s*(\d{1,6}):[ \t]*", re.IGNORECASE)


def _judge(record: Record, report: ReadReport) -> Iterator[JudgedSolution]:
    steps = _sections(record)
    numbers = [_number(record, value) for value in listed(record, _ERRORS)]
    if outside := [number for number in numbers if number > len(steps)]:
        if len(outside) == len(numbers):
            report.count("label_past_end", where=record.place)
            return
        report.count("error_index_outside", len(outside), where=record.place)
    report.count("not_useful_step", len(listed(record, _NOT_USEFUL)))
    labels: list[float | None] = [float(index + 1 not in numbers) for index in range(len(steps))]
    yield JudgedSolution(read_name(record, "id"), record.text("question"), steps, first_wrong_of(labels), labels)


def _number(record: Record, value: Any) -> int:
    number = as_integer(value)
    if number is None or number < 1:
        raise record.error(f"'{_ERRORS}' holds {shown(value)}; allowed: numbers of sections, from 1")
    return number


def _sections(record: Record) -> list[Any]:
    if record.get("sections") is not None:
        values = enumerate(listed(record, "sections"), start=1)
        return [record.inner(value, f"section {number}").text("content") for number, value in values]
    name = next((name for name in _TEXTS if record.get(name) is not None), _TEXTS[0])
    text = record.text(name)
    marks = list(_MARK.finditer(text))
    if [int(mark[1]) for mark in marks] != list(range(1, len(marks) + 1)) or not marks:
        raise record.error(f"'{name}' is not cut into section1:, section2:, ... in order")
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return [text[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)]


_READERS = SolutionReaders(_judge)

DATASET = Dataset(
    name="delta_bench",
    title="long chains of thought in sections, with the numbers of those that hold an error",
    spelling="DeltaBench",
    licence="none stated on its page: ask its authors before you pass it on",
    use="a test",
    page="https://huggingface.co/datasets/OpenStellarTeam/DeltaBench",
    read=_READERS.trees,
    read_solutions=_READERS.solutions,
    rows=(RowKeys(("question", _ERRORS)),),
    version=str(VERSION),
    language="en",
    files=(
        RemoteFile(
            "Deltabench_v1.csv",
            "https://huggingface.co/datasets/OpenStellarTeam/DeltaBench/resolve/main/Deltabench_v1.csv",
        ),
    ),
)

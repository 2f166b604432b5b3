"""BIG-Bench Mistake: chains of thought on five tasks, with the index of the first logical mistake.

    {"input": "...", "steps": ["...", "..."], "target": "...", "answer": "...", "mistake_index": 1}

`mistake_index` counts from 0 and is null where there is no mistake. Layout: its README at
https://github.com/WHGTyen/BIG-Bench-Mistake.
"""

from __future__ import annotations

from collections.abc import Iterable

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

VERSION = 1
"""Changes whenever the trees made from the same file change."""


def _judge(record: Record, _report: ReadReport) -> Iterable[JudgedSolution]:
    if "mistake_index" not in record.values:
        raise record.error("'mistake_index' is missing; allowed: a number from 0, or null where no step is wrong")
    found = error_number(record, "mistake_index", base=0)
    yield JudgedSolution(
        read_name(record, "id"),
        record.text("input"),
        listed(record, "steps"),
        NO_ERROR if found is None else found,
    )


_READERS = SolutionReaders(_judge)
_FILES = "https://raw.githubusercontent.com/WHGTyen/BIG-Bench-Mistake/90084fd567ae952cd021e465b78f0f368442230d/"

DATASET = Dataset(
    name="big_bench_mistake",
    title="chains of thought on five tasks with the index of the first mistake",
    spelling="BIG-Bench Mistake",
    licence="none stated in its repository: ask its authors before you pass it on",
    use="a test; its labels name the first mistake only",
    page="https://github.com/WHGTyen/BIG-Bench-Mistake",
    read=_READERS.trees,
    read_solutions=_READERS.solutions,
    rows=(RowKeys(("input", "steps", "mistake_index")),),
    version=str(VERSION),
    judges_every_step=False,
    language="en",
    files=tuple(
        RemoteFile(f"{task}.jsonl", f"{_FILES}{task}.jsonl")
        for task in (
            "dyck_languages",
            "logical_deduction",
            "multistep_arithmetic",
            "tracking_shuffled_objects",
            "word_sorting",
        )
    ),
)

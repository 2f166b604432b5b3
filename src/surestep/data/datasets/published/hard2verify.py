"""Hard2Verify: frontier models' solutions of open-ended mathematics, every step judged by people.

    {"unique_id": "...", "question": "...", "model_response_by_step": ["...", "..."], "human_labels": [1, 0],
     "human_labels_first_error_idx": 1}

`human_labels` are 1 for a right step and 0 for a wrong one; the index counts from 0, and is -1 where no step is wrong.
Its file is published encrypted against training by accident, with the key in each row: it is decrypted with the
authors' own code first. Layout: https://huggingface.co/datasets/Salesforce/Hard2Verify (arXiv 2510.13744).
"""

from __future__ import annotations

from collections.abc import Iterator

from surestep.data.datasets.dataset import Dataset, RemoteFile, RowKeys
from surestep.data.datasets.published.solution_rows import (
    NO_ERROR,
    JudgedSolution,
    SolutionReaders,
    error_number,
    first_wrong_of,
    listed,
)
from surestep.data.records.labels import read_label, read_name
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import Record

VERSION = 1
"""Changes whenever the trees made from the same file change."""

_STEPS, _LABELS, _INDEX = "model_response_by_step", "human_labels", "human_labels_first_error_idx"


def _judge(record: Record, report: ReadReport) -> Iterator[JudgedSolution]:
    if "canary" in record.values and any(_is_encrypted(record.get(name)) for name in (_STEPS, _LABELS)):
        raise record.error(
            "the row is encrypted ('canary' is its key); decrypt the file with the code on its page and name the "
            "decrypted one"
        )
    values = enumerate(listed(record, _LABELS), start=1)
    labels = [read_label(record, value, f"label {number}") for number, value in values]
    first = first_wrong_of(labels)
    named = error_number(record, _INDEX, base=0)
    if _INDEX in record.values and (NO_ERROR if named is None else named) != first:
        report.count("verdict_conflict", where=record.place)
        return
    name = read_name(record, "unique_id") or read_name(record, "id")
    yield JudgedSolution(name, record.text("question"), listed(record, _STEPS), first, labels)


def _is_encrypted(value: object) -> bool:
    return isinstance(value, str) and not value.lstrip().startswith("[")


_READERS = SolutionReaders(_judge)

DATASET = Dataset(
    name="hard2verify",
    title="frontier models' solutions of open-ended mathematics, every step judged by people",
    spelling="Hard2Verify",
    licence="CC BY-NC 4.0: not for commercial use",
    use="a test; published encrypted, so that nobody trains on it by accident",
    page="https://huggingface.co/datasets/Salesforce/Hard2Verify",
    read=_READERS.trees,
    read_solutions=_READERS.solutions,
    rows=(RowKeys(("question", _STEPS, _LABELS)),),
    version=str(VERSION),
    language="en",
    files=(RemoteFile("test.jsonl", "https://huggingface.co/datasets/Salesforce/Hard2Verify/resolve/main/test.jsonl"),),
)

"""MMLU-Pro-CoT, the data of VersaPRM as it is published: chains of thought, every step labelled by a model.

    question,chain_of_thoughts,labels
    "...","['first step', 'second step']","[1, -1]"

One chain a row; lists stand as Python or JSON writes them, or as lists. A label is 1 (right), -1 (wrong) or null.
Layout: https://huggingface.co/datasets/UW-Madison-Lee-Lab/MMLU-Pro-CoT-Train-Labeled.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from surestep.counted import counted
from surestep.data.datasets.dataset import Dataset, RemoteFile, RowKeys
from surestep.data.datasets.published.solution_rows import listed
from surestep.data.records.bad_rows import BadRows
from surestep.data.records.labels import as_integer
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record
from surestep.data.trees.problem_records import RecordSteps
from surestep.data.trees.problem_rows import ProblemRows
from surestep.types import ROOT, ReasoningTree
from surestep.untrusted.bounds import shown

VERSION = 1
"""Changes whenever the trees made from the same file change."""

_CONFIDENCES = {1: 1.0, -1: 0.0}


def read_mmlu_pro_cot(paths: PathOrPaths, *, report: ReadReport, bad_rows: BadRows = "stop") -> Iterator[ReasoningTree]:
    """One tree for each question; its chains share their common steps.

    Args:
        paths: .csv, .jsonl, .json, or one of them gzipped.
        report: counts unlabelled steps and what is dropped.
        bad_rows: see `read_rows`.

    Raises:
        DataError: naming file and line: a broken file; where rows are not skipped, an empty question or step, a label
            that is none, or not as many labels as steps.
    """
    yield from _rows().trees(paths, report=report, bad_rows=bad_rows)


def _rows() -> ProblemRows:
    return ProblemRows(_parse)


def _parse(record: Record, report: ReadReport) -> RecordSteps:
    found = RecordSteps(record, record.text("question"))
    steps, labels = listed(record, "chain_of_thoughts"), listed(record, "labels")
    if not steps:
        raise record.error("'chain_of_thoughts' is empty; allowed: at least one step")
    if len(labels) != len(steps):
        raise record.error(
            f"{counted(len(labels), 'label')} for {counted(len(steps), 'step')}; give one each, null if unknown"
        )
    parent = ROOT
    for number, (step, value) in enumerate(zip(steps, labels, strict=True), start=1):
        text = record.as_text(step, f"step {number}")
        if not text.strip():
            raise record.error(f"step {number} is empty; remove it with its label")
        label = _label(record, value, f"the label of step {number}")
        report.count("missing_label", int(label is None))
        parent = found.add(text, parent, confidence=label)
    return found


def _label(record: Record, value: Any, what: str) -> float | None:
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, bool):
        return float(value)
    number = as_integer(value)
    if number not in _CONFIDENCES:
        raise record.error(f"{what} is {shown(value)}; allowed: 1 (right), -1 (wrong), true, false or null")
    return _CONFIDENCES[number]


DATASET = Dataset(
    name="mmlu_pro_cot",
    title="chains of thought on the subjects of MMLU-Pro, every step labelled by a model",
    spelling="MMLU-Pro-CoT (VersaPRM)",
    licence="MIT",
    use="training; its labels are a model's, so that a test on them measures agreement with it",
    page="https://huggingface.co/datasets/UW-Madison-Lee-Lab/MMLU-Pro-CoT-Train-Labeled",
    read=read_mmlu_pro_cot,
    problem_rows=_rows,
    rows=(RowKeys(("question", "chain_of_thoughts", "labels")),),
    version=str(VERSION),
    language="en",
    for_training=True,
    files=(
        RemoteFile(
            "file.csv",
            "https://huggingface.co/datasets/UW-Madison-Lee-Lab/MMLU-Pro-CoT-Train-Labeled/resolve/main/train/file.csv",
        ),
    ),
)

"""Stepwise supervision rows `{prompt, completions, labels}`, the community's layout, with soft labels.

A label is true, false, a number in [0, 1], one of two words (`LabelWords`), or null where nobody judged the step;
nothing is rounded.
"""

from __future__ import annotations

from collections.abc import Iterator

from surestep.counted import counted
from surestep.data.datasets.dataset import Dataset, RowKeys
from surestep.data.records.bad_rows import BadRows
from surestep.data.records.labels import LabelWords, read_label
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record
from surestep.data.trees.problem_records import RecordSteps
from surestep.data.trees.problem_rows import ProblemRows
from surestep.types import ROOT, ReasoningTree

VERSION = 2
"""Changes whenever the trees made from the same file change."""


def read_stepwise(paths: PathOrPaths, *, report: ReadReport, bad_rows: BadRows = "stop") -> Iterator[ReasoningTree]:
    """One tree for each prompt; rows of one prompt share their common steps.

    Args:
        paths: .jsonl, .json, or either gzipped.
        report: counts unlabelled steps and what is dropped.
        bad_rows: see `read_rows`.

    Raises:
        DataError: naming file and line: a broken file; where rows are not skipped, an empty prompt or
            step, no step at all, a label out of range, or not as many labels as steps.
    """
    yield from _rows().trees(paths, report=report, bad_rows=bad_rows)


def _rows() -> ProblemRows:
    return ProblemRows(_parse, reads_words=True)


def _parse(record: Record, report: ReadReport, *, words: LabelWords) -> RecordSteps:
    steps, labels = record.items("completions"), record.items("labels")
    if not steps:
        raise record.error("'completions' is empty; allowed: at least one step")
    if len(labels) != len(steps):
        raise record.error(
            f"{counted(len(labels), 'label')} for {counted(len(steps), 'completion')}; give one each, null if unknown"
        )
    found = RecordSteps(record, record.text("prompt"))
    parent = ROOT
    for number, (step, value) in enumerate(zip(steps, labels, strict=True), start=1):
        text = record.as_text(step, f"step {number}")
        if not text.strip():
            raise record.error(f"step {number} is empty; remove it with its label")
        confidence = read_label(record, value, f"the label of step {number}", words)
        report.count("missing_label", int(confidence is None))
        parent = found.add(text, parent, confidence=confidence)
    return found


DATASET = Dataset(
    name="stepwise",
    title="rows {prompt, completions, labels}, the community's layout",
    read=read_stepwise,
    problem_rows=_rows,
    version=str(VERSION),
    rows=(RowKeys(("prompt", "completions", "labels")),),
)

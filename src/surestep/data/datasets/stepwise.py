"""Stepwise supervision rows `{prompt, completions, labels}`, the community's layout, with soft labels.

A label is true, false, a number in [0, 1], or null where nobody judged the step; nothing is rounded.
"""

from __future__ import annotations

from collections.abc import Iterator

from surestep.data.records.labels import read_label
from surestep.data.records.read_report import ReadReport
from surestep.data.records.record import PathOrPaths, as_paths, read_records
from surestep.data.trees.problem_records import Problems
from surestep.types import ROOT, ReasoningTree

VERSION = 1
"""Changes whenever the trees made from the same file change."""


def read_stepwise(paths: PathOrPaths, *, report: ReadReport) -> Iterator[ReasoningTree]:
    """One tree for each prompt; rows of one prompt share their common steps.

    Args:
        paths: .jsonl, .json, or either gzipped.
        report: counts unlabelled steps and what is dropped.

    Raises:
        DataError: naming file and line: a broken file, an empty prompt or step, no step at all, a label
            out of range, or not as many labels as steps.
    """
    problems = Problems()
    for path in as_paths(paths):
        for record in read_records(path):
            report.count("records")
            steps, labels = record.items("completions"), record.items("labels")
            if not steps:
                raise record.error("'completions' is empty; allowed: at least one step")
            if len(labels) != len(steps):
                raise record.error(f"{len(labels)} labels for {len(steps)} completions; give one each, null if unknown")
            builder = problems.builder(record, record.text("prompt"))
            parent = ROOT
            for number, (step, value) in enumerate(zip(steps, labels, strict=True), start=1):
                text = record.as_text(step, f"step {number}")
                if not text.strip():
                    raise record.error(f"step {number} is empty; remove it with its label")
                confidence = read_label(record, value, f"the label of step {number}")
                report.count("missing_label", int(confidence is None))
                parent = builder.add(text, parent, confidence=confidence)
    yield from problems.trees(report, drop_unlabelled_tails=False)

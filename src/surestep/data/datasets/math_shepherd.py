"""Math-Shepherd: `input` with a tag after every step, `label` the same text with + or - for each tag.

Layout: https://huggingface.co/datasets/peiyi9979/Math-Shepherd. Its labels were made by a model that
completed each step many times: + says only that a right answer could still be reached.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from surestep.data.records.read_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record, as_paths, read_records
from surestep.data.trees.problem_records import Problems
from surestep.types import ROOT, ReasoningTree

VERSION = 1
"""Changes whenever the trees made from the same file change."""

STEP_TAG = "ки"
_VERDICTS = {"+": 1.0, "-": 0.0}
_FIRST_STEP = re.compile(r"(?=Step 1:)")


def read_math_shepherd(paths: PathOrPaths, *, report: ReadReport) -> Iterator[ReasoningTree]:
    """One tree for each problem; its solutions share their common steps.

    A step keeps its "Step 1:" and loses the white space around it. Text after the last tag is a step
    that nobody judged.

    Args:
        paths: .jsonl, .json, .csv, or one of them gzipped.
        report: counts unlabelled steps.

    Raises:
        DataError: naming file and line: a broken file, no tag, no "Step 1:", an empty step, or a `label`
            that is not the `input` with + and - in place of its tags.
    """
    problems = Problems()
    for path in as_paths(paths):
        for record in read_records(path):
            report.count("records")
            *steps, rest = record.text("input").split(STEP_TAG)
            if not steps:
                raise record.error(f"'input' holds no step tag; allowed: '{STEP_TAG}' after every step")
            confidences = _verdicts(record, steps)
            problem, steps[0] = _split_problem(record, steps[0])
            builder = problems.builder(record, problem)
            parent = ROOT
            for number, (step, confidence) in enumerate(zip(steps, confidences, strict=True), start=1):
                if not step.strip():
                    raise record.error(f"step {number} is empty; remove it with its tag and verdict")
                parent = builder.add(step.strip(), parent, confidence=confidence)
            if rest.strip():
                report.count("missing_label", where=record.place)
                builder.add(rest.strip(), parent)
    yield from problems.trees(report, drop_unlabelled_tails=False)


def _split_problem(record: Record, text: str) -> tuple[str, str]:
    # The last "Step 1:" before the first tag: a problem may itself speak of steps.
    starts = [match.start() for match in _FIRST_STEP.finditer(text)]
    if not starts:
        raise record.error("'input' holds no 'Step 1:' before its first tag; it ends the problem")
    return text[: starts[-1]].strip(), text[starts[-1] :]


def _verdicts(record: Record, steps: list[str]) -> list[float]:
    label, position = record.text("label"), 0
    confidences = []
    for number, step in enumerate(steps, start=1):
        position += len(step)
        verdict = label[position : position + 1]
        if label[position - len(step) : position] != step:
            raise record.error(f"'label' differs from 'input' before tag {number}; allowed: the same text")
        if verdict not in _VERDICTS:
            raise record.error(f"'label' has {verdict!r} in place of tag {number}; allowed: + or -")
        confidences.append(_VERDICTS[verdict])
        position += 1
    return confidences

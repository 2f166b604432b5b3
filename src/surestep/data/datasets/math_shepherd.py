"""Math-Shepherd: `input` with a tag after every step, and a verdict for each tag.

Layout: https://huggingface.co/datasets/peiyi9979/Math-Shepherd, where `label` is the same text with + or - for each
tag; a derived layout has the verdicts as a list, `value`. Its labels were made by a model that completed each step many
times: + says only that a right answer could still be reached.

Quirks of the published file are repaired and counted: a tag within the problem, "step 1:" in other spellings, and no
"Step 1:" at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from surestep.counted import counted
from surestep.data.datasets.dataset import Dataset, RowKeys
from surestep.data.records.bad_rows import BadRows
from surestep.data.records.labels import read_label
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record
from surestep.data.trees.problem_records import RecordSteps
from surestep.data.trees.problem_rows import ProblemRows
from surestep.data.trees.split_steps import TAG, pieces_at_tags
from surestep.types import ROOT, ReasoningTree

VERSION = 2
"""Changes whenever the trees made from the same file change."""

STEP_TAG = "ки"
USUAL_FIRST_STEP = "Step 1:"
_VERDICTS = {"+": 1.0, "-": 0.0}
_FIRST_STEP = re.compile(r"\bstep\s*1\s*:", re.IGNORECASE)
_LATER_STEP = re.compile(r"\s*step\s*(?!0*1\b)\d+\s*:", re.IGNORECASE)
_QUESTION_END = re.compile(r"\?[$)\"'\u201d\u2019]*(?=\s+\S)")


def read_math_shepherd(
    paths: PathOrPaths, *, report: ReadReport, bad_rows: BadRows = "stop"
) -> Iterator[ReasoningTree]:
    """One tree for each problem; its solutions share their common steps.

    A step keeps its "Step 1:" and loses the white space around it. Text after the last tag is a step
    that nobody judged.

    Args:
        paths: .jsonl, .json, .csv, or one of them gzipped.
        report: counts unlabelled steps and repairs.
        bad_rows: see `read_rows`.

    Raises:
        DataError: naming file and line: a broken file; where rows are not skipped, no tag, a problem whose end cannot
            be found, an empty step, or verdicts that do not fit the tags.
    """
    yield from _rows().trees(paths, report=report, bad_rows=bad_rows)


def _rows() -> ProblemRows:
    return ProblemRows(_parse)


def _parse(record: Record, report: ReadReport) -> RecordSteps:
    *pieces, rest = pieces_at_tags(record.text("input"), STEP_TAG)
    if not pieces:
        raise record.error(f"'input' holds no step tag; allowed: '{STEP_TAG}' after every step")
    problem, steps = split_problem(record, pieces, report, what="'input'")
    confidences = _verdicts(record, pieces, len(steps))
    found = RecordSteps(record, problem)
    parent = ROOT
    for number, (step, confidence) in enumerate(zip(steps, confidences, strict=True), start=1):
        text = step.strip()  # the layout's own white space: nothing that a report should count as cleaned
        if not text:
            raise record.error(f"step {number} is empty; remove it with its tag and verdict")
        report.count("missing_label", int(confidence is None))
        parent = found.add(text, parent, confidence=confidence)
    if rest.strip():
        report.count("missing_label", where=record.place)
        found.add(rest.strip(), parent)
    return found


def split_problem(record: Record, pieces: list[str], report: ReadReport, *, what: str) -> tuple[str, list[str]]:
    """The problem, and the steps behind it, of a text whose first piece holds the problem and the first step.

    Args:
        record: named by reports and errors.
        pieces: the text up to each verdict.
        report: counts the repairs.
        what: what holds the pieces, for the error.

    Raises:
        BadRowError: where the problem ends cannot be told.
    """
    for number, piece in enumerate(pieces):
        if _LATER_STEP.match(piece):
            break
        if starts := list(_FIRST_STEP.finditer(piece)):
            # As it is usually written, if it is, for a first step may speak of "step 1:"; and the last one of its
            # piece, for a problem may itself speak of steps.
            start = ([found for found in starts if found[0] == USUAL_FIRST_STEP] or starts)[-1]
            report.count("tag_in_problem", number, where=record.place if number else None)
            report.count("step_one_spelling", int(start[0] != USUAL_FIRST_STEP), where=record.place)
            problem = " ".join(part.strip() for part in (*pieces[:number], piece[: start.start()]))
            return problem.strip(), [piece[start.start() :], *pieces[number + 1 :]]
    ends = [match.end() for match in _QUESTION_END.finditer(pieces[0])]
    if not ends:
        raise record.error(
            f"{what} holds no 'Step 1:' and no question mark before its first step; one of them ends the problem"
        )
    report.count("step_one_missing", where=record.place)
    return pieces[0][: ends[-1]].strip(), [pieces[0][ends[-1] :], *pieces[1:]]


def _verdicts(record: Record, pieces: list[str], num_steps: int) -> list[float | None]:
    """A confidence for each step; tags within the problem stand before those of the steps."""
    if isinstance(label := record.get("label"), str):
        return _verdicts_in_text(record, record.as_text(label, "'label'"), pieces)[-num_steps:]
    name = "value" if label is None else "label"
    values = record.items(name)
    if not values:
        raise record.error("'label' and 'value' are missing; allowed: the verdicts as one of them")
    if len(values) not in (len(pieces), num_steps):
        raise record.error(
            f"'{name}' has {counted(len(values), 'verdict')} for {counted(len(pieces), 'step tag')}; give one each"
        )
    found = [_verdict(record, value, f"verdict {number}") for number, value in enumerate(values, start=1)]
    return found[-num_steps:]


def _verdict(record: Record, value: Any, what: str) -> float | None:
    if isinstance(value, str):
        if value.strip() not in _VERDICTS:
            raise record.error(f"{what} is {value!r}; allowed: +, -, a number from 0 to 1, true, false or null")
        return _VERDICTS[value.strip()]
    return read_label(record, value, what)


def _verdicts_in_text(record: Record, label: str, steps: list[str]) -> list[float | None]:
    position = 0
    confidences: list[float | None] = []
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


DATASET = Dataset(
    name="math_shepherd",
    title="solutions with a tag after every step, judged by a model that completed them",
    spelling="Math-Shepherd",
    page="https://huggingface.co/datasets/peiyi9979/Math-Shepherd",
    read=read_math_shepherd,
    problem_rows=_rows,
    version=str(VERSION),
    rows=(RowKeys(("input", "label|value"), lambda row: STEP_TAG in str(row.get("input"))),),
    split_rule=TAG + STEP_TAG,
)

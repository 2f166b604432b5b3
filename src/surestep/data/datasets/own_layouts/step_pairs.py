"""Preferences between two steps that follow the same steps: the chosen one is right, the rejected one wrong.

    {"prompt": ..., "initial_reason_steps": "Step 1: ...\\nStep 2:", "chosen": ..., "rejected": ...}
    {"prompt": ..., "chosen": ["Step 1 ...", "right"], "rejected": ["Step 1 ...", "wrong"]}

The first is Step-DPO's (https://huggingface.co/datasets/xinlai/Math-Step-DPO-10K), also with `chosen_step` and
`rejected_step`. Lists of steps are compared: the first two that differ are the pair. Where `chosen` and `rejected` are
texts, each is one step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from surestep.counted import counted
from surestep.data.datasets.dataset import Dataset, RowKeys
from surestep.data.records.bad_rows import BadRows
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record
from surestep.data.trees.problem_records import RecordSteps
from surestep.data.trees.problem_rows import ProblemRows
from surestep.data.trees.split_steps import AUTO, split_steps
from surestep.data.trees.text import clean_text
from surestep.types import ROOT, ReasoningTree

VERSION = 1
"""Changes whenever the trees made from the same file change."""

BEFORE = "initial_reason_steps"
NOTE = (
    "a pair says which of two steps is better: the chosen one is labelled 1, the rejected one 0, the steps before and "
    "behind them have no label"
)
_OPEN_STEP = re.compile(r"(?:^|(?<=\n))[ \t]*(step\s*\d+\s*[:.])\s*\Z", re.IGNORECASE)
"""What Step-DPO's beginnings end with: the heading of the step that the pair is about."""


def read_step_pairs(paths: PathOrPaths, *, report: ReadReport, bad_rows: BadRows = "stop") -> Iterator[ReasoningTree]:
    """One tree for each prompt; the two steps of a pair are siblings.

    Args:
        paths: any file of rows.
        report: counts unlabelled steps, and notes what the labels of a pair mean.
        bad_rows: see `read_rows`.

    Raises:
        DataError: naming file and line: a broken file; where rows are not skipped, an empty step, two that are the
            same, or what is neither text nor a list of steps.
    """
    yield from _rows().trees(paths, report=report, bad_rows=bad_rows)


def _rows() -> ProblemRows:
    return ProblemRows(_parse)


def _parse(record: Record, report: ReadReport) -> RecordSteps:
    report.note(NOTE)
    (prompt,) = _texts(record, "prompt", one=True)
    before, heading = _beginning(record)
    chosen, rejected = ([*before, *_side(record, side, heading)] for side in ("chosen", "rejected"))
    shared = next(
        (place for place, (one, other) in enumerate(zip(chosen, rejected, strict=False)) if one != other), None
    )
    if shared is None:
        raise record.error("no step of 'chosen' differs from the one at its place in 'rejected'; remove the row")
    found = RecordSteps(record, prompt)
    for steps, label in ((chosen, 1.0), (rejected, 0.0)):
        parent = ROOT
        for place, text in enumerate(steps):
            report.count("missing_label", int(place != shared and (label == 1.0 or place > shared)))
            parent = found.add(text, parent, confidence=label if place == shared else None)
    return found


def _beginning(record: Record) -> tuple[list[str], str]:
    """The steps before the pair, and the heading that the pair's steps lack."""
    value = record.seen(BEFORE)
    if value is None:
        return [], ""
    if isinstance(value, list):
        return _texts(record, BEFORE), ""
    text = record.text(BEFORE)
    opened = _OPEN_STEP.search(text)
    text = text[: opened.start()] if opened else text
    heading = f"{opened[1]} " if opened else ""
    return ([clean_text(step) for step in split_steps(text, AUTO).steps] if text.strip() else []), heading


def _side(record: Record, side: str, heading: str) -> list[str]:
    name = f"{side}_step" if record.get(f"{side}_step") is not None else side
    first, *others = _texts(record, name)
    return [heading + first, *others]


def _texts(record: Record, name: str, *, one: bool = False) -> list[str]:
    """A text, a message with its text in `content`, or a list of either, cleaned; `one` wants a single one."""
    value = record.seen(name)
    if value is None:
        raise record.error(f"'{name}' is missing; allowed: text or a list of steps")
    parts = value if isinstance(value, list) else [value]
    inner = [part.get("content") if isinstance(part, dict) else part for part in parts]
    texts = [clean_text(record.as_text(part, f"part {place} of '{name}'")) for place, part in enumerate(inner, start=1)]
    if not texts or not all(texts):
        raise record.error(f"'{name}' is empty or has an empty step; allowed: text or a list of steps")
    if one and len(texts) > 1:
        raise record.error(f"'{name}' has {counted(len(texts), 'message')}; allowed: one, the problem")
    return texts


DATASET = Dataset(
    name="step_pairs",
    title="pairs of a chosen and a rejected step after the same steps",
    spelling="Step-DPO pairs",
    read=read_step_pairs,
    problem_rows=_rows,
    version=str(VERSION),
    rows=(
        RowKeys(("prompt", BEFORE, "chosen|chosen_step", "rejected|rejected_step")),
        RowKeys(("prompt", "chosen|chosen_step", "rejected|rejected_step")),
    ),
    judges_every_step=False,
)

"""PRM800K (MIT): labelling records, each a path of steps with rated alternatives, as one tree a problem.

Layout and quirks: https://github.com/openai/prm800k. Several records share a problem and are not
adjacent, so their steps wait in a temporary file and are merged when the last record is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from surestep.data.records.bad_rows import BadRows, read_rows
from surestep.data.records.labels import read_mark, whole_number
from surestep.data.records.read_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record
from surestep.data.trees.problem_records import Problems, RecordSteps
from surestep.types import ROOT, ReasoningTree

VERSION = 2
"""Changes whenever the trees made from the same file change."""


def read_prm800k(
    paths: PathOrPaths,
    *,
    report: ReadReport,
    neutral: float | None = 0.5,
    keep_quality_control: bool = False,
    keep_screening: bool = False,
    bad_rows: BadRows = "stop",
) -> Iterator[ReasoningTree]:
    """One tree for each problem, in order of first appearance.

    A rating of 1 is confidence 1.0, -1 is 0.0, 0 is `neutral`, none is missing. The chosen completion
    continues, or else the human's (which has no rating and so no label); the others are leaves. Steps
    that carry no label and lead to no labelled step are dropped and counted.

    Args:
        paths: `phase{1,2}_{train,test}.jsonl`, also gzipped; several files are read as one.
        report: counts everything left out.
        neutral: confidence of a neutral rating, 0 to 1, or None to leave it unlabelled.
        keep_quality_control: also read records that checked the labellers.
        keep_screening: also read records that chose the labellers.
        bad_rows: see `read_rows`.

    Raises:
        DataError: naming file and line: a broken file; where rows are not skipped, a rating that is not -1, 0, 1 or
            null, or a choice that is not a whole number.
    """
    confidences = {1: 1.0, 0: neutral, -1: 0.0, None: None}
    problems = Problems()
    kept = partial(
        _parse, confidences=confidences, keep_quality_control=keep_quality_control, keep_screening=keep_screening
    )
    for steps in read_rows(paths, kept, report=report, bad_rows=bad_rows, fetch="prm800k"):
        if steps is not None:
            problems.add(steps)
    yield from problems.trees(report, drop_unlabelled_tails=True)


def _parse(
    record: Record,
    report: ReadReport,
    *,
    confidences: dict[int | None, float | None],
    keep_quality_control: bool,
    keep_screening: bool,
) -> RecordSteps | None:
    """The record's steps; None where it is left out."""
    if read_mark(record, "is_quality_control_question") and not keep_quality_control:
        report.count("quality_control")
        return None
    if read_mark(record, "is_initial_screening_question") and not keep_screening:
        report.count("screening")
        return None
    found = RecordSteps(record, record.inner(record.get("question"), "'question'").text("problem"))
    _add_steps(found, record, confidences, report)
    return found


def _add_steps(
    builder: RecordSteps, record: Record, confidences: dict[int | None, float | None], report: ReadReport
) -> None:
    steps = record.inner(record.get("label"), "'label'").items("steps")
    if not steps:
        report.count("no_steps", where=record.place)
    parent = ROOT
    for depth, values in enumerate(steps):
        step = record.inner(values, f"step {depth + 1}")
        nodes = _add_completions(builder, step, parent, confidences, report)
        human = step.get("human_completion")
        following: int | None = None
        if human is not None:
            following = _add_human(builder, step.inner(human, "'human_completion'"), parent, report)
        chosen = whole_number(record, step.get("chosen_completion"), f"'chosen_completion' of step {depth + 1}")
        if chosen is not None:
            if human is not None:
                report.count("chosen_and_human", where=record.place)
            if not 0 <= chosen < len(nodes):
                report.count("bad_choice", where=record.place)
                return
            following = nodes[chosen]
        if following is None:
            if depth + 1 < len(steps):
                cut_by_empty_step = chosen is not None or human is not None
                report.count("after_empty_step" if cut_by_empty_step else "unchosen_end", where=record.place)
            return
        parent = following


def _add_completions(
    builder: RecordSteps,
    step: Record,
    parent: int,
    confidences: dict[int | None, float | None],
    report: ReadReport,
) -> list[int | None]:
    """Node of each completion; None for an empty one."""
    nodes: list[int | None] = []
    for values in step.items("completions"):
        completion = step.inner(values, "a completion")
        text = completion.text("text")
        rating = whole_number(step, completion.get("rating"), "'rating'", "-1, 0, 1 or null")
        if rating not in confidences:
            raise step.error(f"'rating' is {rating!r}; allowed: -1, 0, 1 or null")
        if not text.strip():
            report.count("empty_step", where=step.place)
            nodes.append(None)
            continue
        confidence = confidences[rating]
        if rating is None:
            report.count("missing_rating")
        elif confidence is None:
            report.count("neutral_missing")
        nodes.append(builder.add(text, parent, confidence=confidence))
    return nodes


def _add_human(builder: RecordSteps, human: Record, parent: int, report: ReadReport) -> int | None:
    text = human.text("text")
    if not text.strip():
        report.count("empty_step", where=human.place)
        return None
    report.count("human_step")
    return builder.add(text, parent)

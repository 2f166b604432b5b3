"""PRM800K (MIT): labelling records, each a path of steps with rated alternatives, as one tree a problem.

Layout and quirks: https://github.com/openai/prm800k. Several records share a problem and are not
adjacent, so their steps wait in a temporary file and are merged when the last record is read.
"""

from __future__ import annotations

from collections.abc import Iterator

from surestep.data.records.read_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record, as_paths, read_records
from surestep.data.trees.problem_records import Problems, RecordSteps
from surestep.types import ROOT, ReasoningTree

VERSION = 1
"""Changes whenever the trees made from the same file change."""


def read_prm800k(
    paths: PathOrPaths,
    *,
    report: ReadReport,
    neutral: float | None = 0.5,
    keep_quality_control: bool = False,
    keep_screening: bool = False,
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

    Raises:
        DataError: naming file and line, where a file is broken or a rating is not -1, 0, 1 or null.
    """
    confidences = {1: 1.0, 0: neutral, -1: 0.0, None: None}
    problems = Problems()
    for path in as_paths(paths):
        for record in read_records(path, fetch="prm800k"):
            report.count("records")
            if record.values.get("is_quality_control_question") and not keep_quality_control:
                report.count("quality_control")
                continue
            if record.values.get("is_initial_screening_question") and not keep_screening:
                report.count("screening")
                continue
            problem = record.inner(record.values.get("question"), "'question'").text("problem")
            _add_record(problems.builder(record, problem), record, confidences, report)
    yield from problems.trees(report, drop_unlabelled_tails=True)


def _add_record(
    builder: RecordSteps, record: Record, confidences: dict[int | None, float | None], report: ReadReport
) -> None:
    steps = record.inner(record.values.get("label"), "'label'").items("steps")
    if not steps:
        report.count("no_steps", where=record.place)
    parent = ROOT
    for depth, values in enumerate(steps):
        step = record.inner(values, f"step {depth + 1}")
        nodes = _add_completions(builder, step, parent, confidences, report)
        human = step.values.get("human_completion")
        following: int | None = None
        if human is not None:
            following = _add_human(builder, step.inner(human, "'human_completion'"), parent, report)
        chosen = step.values.get("chosen_completion")
        if chosen is not None:
            if human is not None:
                report.count("chosen_and_human", where=record.place)
            if not isinstance(chosen, int) or isinstance(chosen, bool) or not 0 <= chosen < len(nodes):
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
        text, rating = completion.text("text"), completion.values.get("rating")
        if isinstance(rating, bool) or not (rating is None or rating in (-1, 0, 1)):
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

"""PRM800K (MIT): labelling records, each a path of steps with rated alternatives, as one tree a problem.

Layout and quirks: https://github.com/openai/prm800k. Several records share a problem and are not
adjacent, so their steps wait in a temporary file and are merged when the last record is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from surestep.data.datasets.dataset import Dataset, RemoteFile, RowKeys, SplitPlan, SplitRequest, Weight
from surestep.data.records.bad_rows import BadRows
from surestep.data.records.labels import read_mark, whole_number
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record
from surestep.data.trees.problem_records import RecordSteps
from surestep.data.trees.problem_rows import ProblemRows
from surestep.settings import Section
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
    rows = _rows(neutral=neutral, keep_quality_control=keep_quality_control, keep_screening=keep_screening)
    yield from rows.trees(paths, report=report, bad_rows=bad_rows)


def _rows(
    *, neutral: float | None = 0.5, keep_quality_control: bool = False, keep_screening: bool = False
) -> ProblemRows:
    parse = partial(
        _parse,
        confidences={1: 1.0, 0: neutral, -1: 0.0, None: None},
        keep_quality_control=keep_quality_control,
        keep_screening=keep_screening,
    )
    return ProblemRows(parse, drop_unlabelled_tails=True, fetch="prm800k")


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
    path, line, number = record.path, record.line, record.number
    for depth, values in enumerate(steps):
        # Of what nearly every step is, no question is open that costs a call; there are millions of them.
        is_plain = type(values) is dict
        step = Record(values, path, line, number) if is_plain else record.inner(values, f"step {depth + 1}")
        nodes = _add_completions(builder, step, parent, confidences, report)
        human = step.get("human_completion")
        following: int | None = None
        if human is not None:
            following = _add_human(builder, step.inner(human, "'human_completion'"), parent, report)
        chosen = step.values.get("chosen_completion")
        if type(chosen) is not int:
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
    num_unrated = num_neutral = 0
    for values in step.items("completions"):
        text, rating = _text_and_rating(step, values)
        if rating not in confidences:
            raise step.error(f"'rating' is {rating!r}; allowed: -1, 0, 1 or null")
        if not text or text.isspace():
            report.count("empty_step", where=step.place)
            nodes.append(None)
            continue
        confidence = confidences[rating]
        if rating is None:
            num_unrated += 1
        elif confidence is None:
            num_neutral += 1
        nodes.append(builder.add(text, parent, confidence=confidence))
    report.count("missing_rating", num_unrated)
    report.count("neutral_missing", num_neutral)
    return nodes


def _text_and_rating(step: Record, values: Any) -> tuple[str, int | None]:
    if type(values) is dict:
        # What nearly every completion is, and there are millions of them: no question about it is open.
        text, rating = values.get("text"), values.get("rating")
        if type(text) is str and text.isascii() and (rating is None or type(rating) is int):
            return text, rating
    completion = step.inner(values, "a completion")
    return completion.text("text"), whole_number(step, completion.get("rating"), "'rating'", "-1, 0, 1 or null")


def _add_human(builder: RecordSteps, human: Record, parent: int, report: ReadReport) -> int | None:
    text = human.text("text")
    if not text.strip():
        report.count("empty_step", where=human.place)
        return None
    report.count("human_step")
    return builder.add(text, parent)


class Fields(Section):
    """PRM800K's fields of the configuration."""

    use_prm800k: bool = Field(True, description="PRM800K: mathematics, judged step by step (MIT).")
    prm800k_weight: Weight = Field(0.5, description="Share of PRM800K in the mixture, before normalisation.")
    prm800k_dir: Path | None = Field(None, description="PRM800K's folder; unset: found in `data_dir`.")
    prm800k_phase: Literal[1, 2] = Field(2, description="Phase of PRM800K: 1 is small and easier, 2 is large.")
    prm800k_neutral: Annotated[float, Field(ge=0.0, le=1.0)] | Literal["missing"] = Field(
        0.5, description="Confidence of a neutral (0) rating, or `missing` to leave it unlabelled."
    )
    keep_quality_control: bool = Field(False, description="Train on PRM800K's quality-control records too.")
    keep_screening: bool = Field(False, description="Train on PRM800K's labeller-screening records too.")


def _options(fields: Fields) -> dict[str, Any]:
    return {
        "neutral": None if fields.prm800k_neutral == "missing" else fields.prm800k_neutral,
        "keep_quality_control": fields.keep_quality_control,
        "keep_screening": fields.keep_screening,
    }


def _splits(fields: Fields, request: SplitRequest) -> SplitPlan:
    """Validation is held out of the phase's training file; the test file is its own."""
    is_test = request.split == "test"
    name = f"phase{fields.prm800k_phase}_{'test' if is_test else 'train'}.jsonl"
    return SplitPlan(names=(name,), divisions=() if is_test else (request.hold_out,))


def _is_record(row: Record) -> bool:
    question, label = row.seen("question"), row.seen("label")
    return isinstance(question, dict) and "problem" in question and isinstance(label, dict) and "steps" in label


_FILES = "https://media.githubusercontent.com/media/openai/prm800k/main/prm800k/data/"

DATASET = Dataset(
    name="prm800k",
    title="mathematics, every step of a solution judged by people",
    spelling="PRM800K",
    licence="MIT",
    use="training and testing",
    page="https://github.com/openai/prm800k",
    read=read_prm800k,
    problem_rows=_rows,
    version=str(VERSION),
    fields=Fields,
    options=_options,
    splits=_splits,
    test_fields=("prm800k_phase",),
    rows=(RowKeys(("question", "label"), _is_record),),
    inner_folders=("data", "prm800k/data"),
    language="en",
    files=(
        RemoteFile(
            "phase1_train.jsonl",
            _FILES + "phase1_train.jsonl",
            7_900_236,
            "e9da6a73f827ffb9a8c0dc644c541d34ed76b3d4d1e4896ff5f7b37ddf5ae34d",
        ),
        RemoteFile(
            "phase1_test.jsonl",
            _FILES + "phase1_test.jsonl",
            829_105,
            "f4b3bc5b095e45c816453dc4d748b755c680d61d55f9895d929a335b487c727d",
        ),
        RemoteFile(
            "phase2_train.jsonl",
            _FILES + "phase2_train.jsonl",
            456_135_365,
            "1110237feeb51d1bc200cb37b8f965cfdc1036eac7d506094049366fe7dc1089",
        ),
        RemoteFile(
            "phase2_test.jsonl",
            _FILES + "phase2_test.jsonl",
            12_240_719,
            "6b172efa884ac8341a946dd82e06947c135b7254109fb3f7aa907c715d98aaad",
        ),
    ),
)

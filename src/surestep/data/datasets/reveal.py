"""REVEAL (CC BY-ND 4.0, by agreement): answers judged step by step against evidence.

One row a step and evidence passage: https://huggingface.co/datasets/google/reveal. A step's rows become
one node that shows its evidence; the answers to one question are the branches of one tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from surestep.data.datasets.dataset import Dataset, RemoteFile, RowKeys, SplitPlan, SplitRequest, Weight
from surestep.data.records.bad_rows import BadRows, read_rows
from surestep.data.records.labels import whole_number
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record
from surestep.data.sources.hold_out import Division
from surestep.data.trees.text import clean_text
from surestep.data.trees.tree_builder import TreeBuilder, finish
from surestep.settings import Section
from surestep.types import ROOT, ReasoningTree

VERSION = 2
"""Changes whenever the trees made from the same file change."""

ATTRIBUTION = {"fully": 1.0, "partially": 0.5, "unsupported": 0.25, "contradictory": 0.0}
CORRECTNESS = {"correct": 1.0, "incorrect": 0.0}
TERMS = (
    "REVEAL is CC BY-ND 4.0 and given by agreement; its card permits it as a test set, not as a training "
    "set, and asks not to put it where web crawlers read it"
)
COLUMNS = ("question_id", "question", "answer_id", "step_idx", "step")
_MISSING = frozenset({"", "nan", "none", "null", "n/a"})
_WHOLE = re.compile(r"^([+-]?\d+)\.0+$")


@dataclass(slots=True)
class _Step:
    text: str
    evidence: list[str] = field(default_factory=list)
    attribution: set[str] = field(default_factory=set)
    correctness: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Question:
    text: str
    answers: dict[str, dict[int, _Step]] = field(default_factory=dict)


def step_confidence(attribution: set[str], correctness: set[str]) -> float | None:
    """A step's label from those of its evidence rows.

    Attribution: any `fully` is 1.0, else any `contradictory` 0.0, else the highest. Where a step is judged
    for correctness too, the lower of both; None where it was judged for neither.

    >>> step_confidence({"contradictory", "fully"}, set()), step_confidence({"partially"}, {"incorrect"})
    (1.0, 0.0)
    """
    values = [CORRECTNESS[word] for word in correctness]
    if "contradictory" in attribution and "fully" not in attribution:
        values.append(0.0)
    elif attribution:
        values.append(max(ATTRIBUTION[word] for word in attribution))
    return min(values, default=None)


def read_reveal(paths: PathOrPaths, *, report: ReadReport, bad_rows: BadRows = "stop") -> Iterator[ReasoningTree]:
    """One tree for each question, its answers as branches, evidence as `Node.context`.

    Args:
        paths: `reveal_eval.csv` or a .json or .jsonl conversion with the same columns.
        report: counts what is merged, left out or unlabelled, and notes the terms of use.
        bad_rows: see `read_rows`.

    Raises:
        DataError: naming file and line: a broken file; where rows are not skipped, a column that is not
            there, an unknown label word.
    """
    report.note(TERMS)
    questions: dict[str, _Question] = {}
    rows = [row for row in read_rows(paths, _parse, report=report, bad_rows=bad_rows, fetch="reveal") if row]
    for row in sorted(rows, key=_content):
        _add_row(questions, row, report)
    while questions:
        identity = next(iter(questions))
        builder = _build(identity, questions.pop(identity), report)
        if len(builder) and (tree := finish(builder, report)):
            yield tree


@dataclass(frozen=True, slots=True)
class _Row:
    """One row, complete and checked; its texts clean."""

    place: str
    question_id: str
    question: str
    answer_id: str
    index: int
    step: str
    evidence: str
    attribution: str | None
    correctness: str | None


def _content(row: _Row) -> tuple[str | int, ...]:
    """What a row says, its place left out: whatever the order of the rows, the same tree comes of them.

    Where rows disagree on the text of a question or step, one that was judged goes first, and the others follow it.
    """
    unjudged = int(row.attribution is None and row.correctness is None)
    words = (row.evidence, row.attribution or "", row.correctness or "")
    return (row.question_id, row.answer_id, row.index, unjudged, row.question, row.step, *words)


def _parse(record: Record, report: ReadReport) -> _Row | None:
    """None where the row is incomplete."""
    absent = [name for name in COLUMNS if name not in record.values]
    if absent:
        raise record.error(f"no column {', '.join(absent)}; allowed: reveal_eval.csv, or its rows as JSON objects")
    question_id, answer_id = _word(record, "question_id"), _word(record, "answer_id")
    index, question = _index(record), _text(record, "question", report)
    attribution = _label(record, "attribution_label", ATTRIBUTION)
    correctness = _label(record, "correctness_label", CORRECTNESS)
    step, evidence = _text(record, "step", report), _text(record, "evidence", report)
    if question_id is None or answer_id is None or index is None or not question:
        report.count("incomplete_row", where=record.place)
        return None
    return _Row(record.place, question_id, question, answer_id, index, step, evidence, attribution, correctness)


def _add_row(questions: dict[str, _Question], row: _Row, report: ReadReport) -> None:
    steps = questions.setdefault(row.question_id, _Question(row.question)).answers.setdefault(row.answer_id, {})
    step = steps.get(row.index)
    if step is None:
        step = steps[row.index] = _Step(row.step)
    elif step.text != row.step:
        report.count("step_text_differs", where=row.place)
        return
    else:
        report.count("evidence_rows_merged")
    if row.evidence and row.evidence not in step.evidence:
        step.evidence.append(row.evidence)
    if row.attribution:
        step.attribution.add(row.attribution)
    if row.correctness:
        step.correctness.add(row.correctness)


def _build(identity: str, question: _Question, report: ReadReport) -> TreeBuilder:
    builder = TreeBuilder(question.text, id=identity, group=identity)
    for answer_id, steps in question.answers.items():
        parent = ROOT
        for index in sorted(steps):
            step = steps[index]
            if not step.text:
                report.count("empty_step", where=f"answer {answer_id}, step {index}")
                break
            confidence = step_confidence(step.attribution, step.correctness)
            report.count("evidence_conflict", int(len(step.attribution) > 1 or len(step.correctness) > 1))
            report.count("missing_label", int(confidence is None))
            parent = builder.add(step.text, parent, confidence=confidence, context="\n\n".join(step.evidence) or None)
    return builder


def _text(record: Record, name: str, report: ReadReport) -> str:
    """A field's clean text; "" where it is blank or missing."""
    written = record.optional_text(name) or ""
    text = clean_text(written)
    report.count("text_cleaned", int(text != written))
    return text


def _word(record: Record, name: str, allowed: str = "text or a whole number") -> str | None:
    """A short value as text, None where it is missing; 7, 7.0 and "7.0" (a table has only text) are one."""
    value = record.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(whole_number(record, value, f"'{name}'", allowed))
    word = str(value).strip()
    return None if word.lower() in _MISSING else _WHOLE.sub(r"\1", word)


def _index(record: Record) -> int | None:
    word = _word(record, "step_idx", "a whole number")
    if word is None:
        return None
    try:
        return int(word)
    except ValueError:
        raise record.error(f"'step_idx' is {word!r}; allowed: a whole number") from None


def _label(record: Record, name: str, allowed: dict[str, float]) -> str | None:
    word = _word(record, name)
    if word is None:
        return None
    # Conversions write "Fully", "fully" and "Fully attributable" for the same label.
    first = word.lower().split()[0].rstrip(".,:;")
    if first not in allowed:
        raise record.error(f"'{name}' is {word!r}; allowed: {', '.join(allowed)} or nothing")
    return first


class Fields(Section):
    """REVEAL's fields of the configuration."""

    use_reveal: bool = Field(
        False,
        description="REVEAL: open-domain answers (CC BY-ND 4.0, its card says for testing, not for training).",
    )
    reveal_weight: Weight = Field(0.25, description="Share of REVEAL, before normalisation.")
    reveal_dir: Path | None = Field(None, description="REVEAL's folder; unset: found in `data_dir`.")


TEST_SHARE, TEST_SEED = 0.2, 0
"""Share of the questions kept for testing, and which; fixed, so that no run ever trains on them."""


def _splits(_fields: Fields, request: SplitRequest) -> SplitPlan:
    """A fifth of the questions for testing; validation is held out of the rest."""
    is_test = request.split == "test"
    test = Division(TEST_SHARE, TEST_SEED, "held_out" if is_test else "rest")
    return SplitPlan(
        names=("reveal_eval.csv", "reveal_eval.jsonl", "reveal_eval.json"),
        divisions=(test,) if is_test else (test, request.hold_out),
    )


DATASET = Dataset(
    name="reveal",
    title="answers to open-domain questions, each step judged against evidence",
    spelling="REVEAL",
    licence="CC BY-ND 4.0, by agreement; its card permits it as a test set, not as a training set",
    use="testing; whoever trains on it goes beyond its card",
    page="https://huggingface.co/datasets/google/reveal",
    read=read_reveal,
    version=str(VERSION),
    fields=Fields,
    splits=_splits,
    rows=(RowKeys(COLUMNS),),
    inner_folders=("data", "eval"),
    language="en",
    files=(RemoteFile("reveal_eval.csv", None), RemoteFile("reveal_open.csv", None)),
    by_hand="agree to the terms on its page while logged in, then download eval/reveal_eval.csv",
    for_testing_only=(
        "It is CC BY-ND 4.0, given by agreement, and its card says that it is for testing, not for training."
    ),
)

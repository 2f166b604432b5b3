"""Your own data: one JSON object a problem, a path of steps with alternatives and any label in [0, 1].

    {"problem": "1 + 1 = ?", "steps": ["One and one.", {"text": "It is 2.", "confidence": 1,
     "alternatives": [{"text": "It is 3.", "confidence": 0}], "context": "Peano, 1889"}], "id": "p1"}

`confidences` or `labels` gives the labels as one list instead. The step itself continues; its alternatives end. Where
`own_split` says how, `solution`, a raw text, may stand in place of `steps`, with `confidences` for the steps that it is
split into.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from surestep.counted import counted
from surestep.data.datasets.dataset import AUTO_LAYOUT, Dataset, RowKeys, SplitPlan, SplitRequest, Weight
from surestep.data.records.bad_rows import BadRows, read_rows
from surestep.data.records.labels import LabelWords, read_label, read_name
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record
from surestep.data.trees.problem_records import RecordSteps
from surestep.data.trees.problem_rows import ProblemRows
from surestep.data.trees.split_steps import AUTO, RULES, TAG, check_rule, split_steps
from surestep.errors import InputError
from surestep.settings import Section
from surestep.types import ROOT, ReasoningTree
from surestep.untrusted import Matching, parse_json

VERSION = 2
"""Changes whenever the trees made from the same file change."""

FIELDS = frozenset({"problem", "steps", "confidences", "labels", "source", "id", "group"})
RAW_FIELD = "solution"
STEP_FIELDS = frozenset({"text", "confidence", "alternatives", "context"})
_NAME = Matching(r"[A-Za-z0-9_.-]+", "letters, digits and _ . -")
_PLAIN_FIELDS = frozenset({"text", "confidence"})


def read_own(
    paths: PathOrPaths, *, report: ReadReport, bad_rows: BadRows = "stop", split: str | None = None
) -> Iterator[ReasoningTree]:
    """One tree for each problem (and `id`); rows of one problem share their common steps.

    Args:
        paths: .jsonl, .json, or either gzipped. `group`, where given, keeps problems together when data
            is split; `source` is for your own bookkeeping.
        report: counts unlabelled steps and records with unknown fields.
        bad_rows: see `read_rows`.
        split: the rule by which a row's `solution` is split where it has no `steps` (`split_steps`); None: such a row
            contradicts the layout.

    Raises:
        DataError: naming file and line: a broken file; where rows are not skipped, an empty problem or
            step, no step at all, a label out of range, labels given twice or not one a step, an unknown
            field of a step.
    """
    yield from _rows(split=split).trees(paths, report=report, bad_rows=bad_rows)


def _rows(split: str | None = None) -> ProblemRows:
    return ProblemRows(partial(_parse, split=split), reads_words=True)


def read_in_order(
    paths: PathOrPaths, *, report: ReadReport, bad_rows: BadRows = "stop", split: str | None = None
) -> Iterator[ReasoningTree]:
    """One tree for each row, in the order of the file, labelled or not: new problems as they come in.

    Args and errors as `read_own`.
    """
    parse = partial(_parse, split=split, words=LabelWords())
    for steps in read_rows(paths, parse, report=report, bad_rows=bad_rows):
        yield steps.tree(report)


def _parse(record: Record, report: ReadReport, *, split: str | None, words: LabelWords) -> RecordSteps:
    is_raw = record.get("steps") is None and record.get(RAW_FIELD) is not None
    is_known = record.values.keys() <= FIELDS  # nearly always
    if not is_known and (unknown := sorted(record.values.keys() - FIELDS - ({RAW_FIELD} if is_raw else set()))):
        report.count("fields_not_read", where=f"{record.place}: {', '.join(unknown)}")
    if is_raw and split is None:
        raise record.error(
            f"'steps' is missing; give the steps, or say how '{RAW_FIELD}' is split with --own_split auto"
        )
    steps = list(split_steps(record.text(RAW_FIELD), split).steps) if is_raw and split else record.items("steps")
    if not steps and is_raw:
        raise record.error(f"'{RAW_FIELD}' is empty; allowed: text")
    if not steps:
        raise record.error("'steps' is empty; allowed: at least one step")
    found = RecordSteps(record, record.text("problem"), name=read_name(record, "id"), group=read_name(record, "group"))
    labels = _labels(record, len(steps), words)
    parent = ROOT
    for number, (value, label) in enumerate(zip(steps, labels, strict=True), start=1):
        plain = _plain_step(value, label)
        if plain is not None:
            parent = found.add(plain[0], parent, confidence=plain[1])
        else:
            parent = _add_step(found, record, value, f"step {number}", parent, label, report, words)
    return found


def _plain_step(value: Any, label: float | None) -> tuple[str, float] | None:
    """The text and the confidence of a labelled step that has nothing else and nothing wrong with it, as nearly all;
    None where `_add_step` has to look."""
    if type(value) is dict:
        if not value.keys() <= _PLAIN_FIELDS:
            return None
        text, own = value.get("text"), value.get("confidence")
        if own is not None:
            if label is not None or type(own) is not float or not 0.0 <= own <= 1.0:
                return None
            label = own
    else:
        text = value
    if label is None or type(text) is not str or not text or not text.isascii() or text.isspace():
        return None
    return text, label


def _labels(record: Record, num_steps: int, words: LabelWords) -> list[float | None]:
    given = [name for name in ("confidences", "labels") if record.get(name) is not None]
    if not given:
        return [None] * num_steps
    if len(given) > 1:
        raise record.error("'confidences' and 'labels' are one thing, and both are given; keep one")
    values, one = record.items(given[0]), given[0].removesuffix("s")
    if len(values) != num_steps:
        raise record.error(f"{len(values)} {given[0]} for {counted(num_steps, 'step')}; give one each, null if unknown")
    return [read_label(record, value, f"{one} {number}", words) for number, value in enumerate(values, start=1)]


def _add_step(
    builder: RecordSteps,
    record: Record,
    value: Any,
    what: str,
    parent: int,
    label: float | None,
    report: ReadReport,
    words: LabelWords,
) -> int:
    """Adds a step with its alternatives and returns the step's own index."""
    if isinstance(value, str):
        value = {"text": value}
    step = record.inner(value, what)
    if not step.values.keys() <= STEP_FIELDS:
        unknown = sorted(step.values.keys() - STEP_FIELDS)
        # A misspelt "confidence" would lose every label, so this is no place for tolerance.
        raise step.error(f"{what} has the field '{unknown[0]}'; allowed: {', '.join(sorted(STEP_FIELDS))}")
    text = step.text("text")
    if not text.strip():
        raise step.error(f"{what} is empty; remove it or give its text")
    confidence = read_label(step, step.values.get("confidence"), f"the confidence of {what}", words)
    if confidence is not None and label is not None:
        raise step.error(f"{what} has a confidence of its own and one in 'confidences'; keep one")
    confidence = label if confidence is None else confidence
    report.count("missing_label", int(confidence is None))
    index = builder.add(text, parent, confidence=confidence, context=step.optional_text("context") or None)
    alternatives = step.items("alternatives") if "alternatives" in step.values else []
    for number, alternative in enumerate(alternatives, start=1):
        name = f"alternative {number} of {what}"
        if isinstance(alternative, dict) and alternative.get("alternatives") is not None:
            raise step.error(f"{name} has alternatives itself; write another record with the same problem and id")
        _add_step(builder, record, alternative, name, parent, None, report, words)
    return index


def _known_rule(value: str) -> str:
    try:
        return check_rule(value)
    except InputError:
        raise ValueError(f"{', '.join((AUTO, *RULES))}, or {TAG} and a text") from None


def _pairs(value: Any) -> Any:
    """`name=column` texts, as flags give them, or one JSON object, as a dictionary."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return value
    if len(texts) == 1 and texts[0].lstrip().startswith("{"):
        return parse_json(texts[0], unique_keys=True)
    pairs = [text.partition("=") for text in texts]
    names = [name for name, _, _ in pairs]
    if not all(name and sign and column for name, sign, column in pairs) or len(set(names)) < len(names):
        raise ValueError("name=column for each, every name once (problem=question steps=solution labels=ratings)")
    return {name: column for name, _, column in pairs}


class Fields(Section):
    """The fields of a user's own data."""

    use_own: bool = Field(False, description="Your own files: see `own_train`.")
    own_weight: Weight = Field(1.0, description="Share of your own data, before normalisation.")
    own_train: Path | None = Field(
        None,
        description=(
            "Training data of your own: a file (.jsonl, .json, .csv, .parquet, .arrow), a pattern, a folder of "
            "`datasets`, or `org/name:split` of the hub. Naming it, `own_validation` or `own_test` turns `own` on and "
            "the default datasets off, unless a `use_...` says otherwise; `--data` for short in `train` and "
            "`data inspect`."
        ),
    )
    own_validation: Path | None = Field(
        None, description="Validation data of your own, likewise; unset: held out of `own_train` by problem."
    )
    own_test: Path | None = Field(
        None, description="Test data of your own, likewise; `--data` for short in `evaluate` and `check`."
    )
    own_format: str = Field(
        AUTO_LAYOUT, description="Layout of your own files; `auto`: each file's, recognised by the keys of its rows."
    )
    own_columns: Annotated[dict[str, str], BeforeValidator(_pairs)] | None = Field(
        None,
        description=(
            "What your columns are called, where a layout calls them otherwise: `--columns problem=question "
            'steps=answer.steps`, in a file `{"problem": "question"}`; `a.b` is `b` within `a`.'
        ),
    )
    own_split: Annotated[str, AfterValidator(_known_rule)] | None = Field(
        None,
        description=(
            "How a row's `solution`, a raw text in place of `steps`, is split into steps: `auto`, `step`, `numbered`, "
            "`blank_lines`, `lines`, `sentences` or `tag:TEXT`. The checkpoint keeps it and splits raw solutions "
            "alike; unset: such a row is refused."
        ),
    )
    own_name: Annotated[str, _NAME] = Field("own", description="Its name in reports.")


def _splits(fields: Fields, request: SplitRequest) -> SplitPlan:
    """The file that the user named for the split; validation is held out of `own_train` where none is named."""
    named = {"train": fields.own_train, "validation": fields.own_validation, "test": fields.own_test}
    is_held_out = request.split != "test" and fields.own_validation is None
    return SplitPlan(
        path=fields.own_train if is_held_out else named[request.split],
        named_by="own_train" if is_held_out and fields.own_train is not None else f"own_{request.split}",
        layout=fields.own_format,
        columns=fields.own_columns or {},
        shown_as=fields.own_name,
        options={"split": fields.own_split} if fields.own_split is not None else {},
        divisions=(request.hold_out,) if is_held_out else (),
    )


def _has_labels_within(row: Record) -> bool:
    """Whether the steps carry labels themselves, or the row has no other column that could be meant as labels."""
    steps = row.seen("steps")
    is_marked = isinstance(steps, list) and any(isinstance(step, dict) and "text" in step for step in steps)
    return is_marked or row.values.keys() <= FIELDS | {RAW_FIELD}


DATASET = Dataset(
    name="own",
    title="your own files",
    read=read_own,
    problem_rows=_rows,
    version=str(VERSION),
    rows=(
        RowKeys(("problem", "steps|solution", "labels|confidences")),
        RowKeys(("problem", "steps|solution"), _has_labels_within),
    ),
    fields=Fields,
    splits=_splits,
    test_fields=("own_test", "own_name", "own_format", "own_columns", "own_split"),
)

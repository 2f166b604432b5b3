"""VersaPRM: chains of thought on the subjects of MMLU-Pro, every step labelled by a model.

One chain a row, as it is published (a CSV whose lists are written as Python writes them):

    {"question": "...", "chain_of_thoughts": "['first step', 'second step']", "labels": "[1, -1]"}

or several chains of a question, with steps that were changed on purpose (`augs`) beside the one they replace:

    {"question": "...", "chain_of_thoughts": [{"steps": [...], "labels": [1, null],
     "augs": [{"aug_idx": 1, "aug_step": "...", "aug_type": -1}]}]}

A label is 1 (right), -1 (wrong) or null. `aug_idx` is the index, from 0, of the step that `aug_step` stands beside; its
`aug_type` is its label where that is 1 or -1, else it has none. Layout:
https://huggingface.co/datasets/UW-Madison-Lee-Lab/MMLU-Pro-CoT-Train-Labeled.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from surestep.data.datasets.dataset import Dataset, RemoteFile
from surestep.data.datasets.published.solution_rows import listed
from surestep.data.records.bad_rows import BadRows, read_rows
from surestep.data.records.labels import as_integer
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record
from surestep.data.trees.problem_records import Problems, RecordSteps
from surestep.types import ROOT, ReasoningTree
from surestep.untrusted.bounds import shown

VERSION = 1
"""Changes whenever the trees made from the same file change."""

_CONFIDENCES = {1: 1.0, -1: 0.0}


def read_versa_prm(paths: PathOrPaths, *, report: ReadReport, bad_rows: BadRows = "stop") -> Iterator[ReasoningTree]:
    """One tree for each question; its chains share their common steps.

    Args:
        paths: .csv, .jsonl, .json, or one of them gzipped.
        report: counts unlabelled steps and what is dropped.
        bad_rows: see `read_rows`.

    Raises:
        DataError: naming file and line: a broken file; where rows are not skipped, an empty question or step, a label
            that is none, or not as many labels as steps.
    """
    problems = Problems()
    for steps in read_rows(paths, _parse, report=report, bad_rows=bad_rows):
        problems.add(steps)
    yield from problems.trees(report, drop_unlabelled_tails=False)


def _parse(record: Record, report: ReadReport) -> RecordSteps:
    found = RecordSteps(record, record.text("question"))
    chains = listed(record, "chain_of_thoughts")
    if not chains:
        raise record.error("'chain_of_thoughts' is empty; allowed: steps, or chains of them")
    if isinstance(chains[0], dict):
        for number, value in enumerate(chains, start=1):
            chain = record.inner(value, f"chain {number}")
            parents = _add(chain, listed(chain, "steps"), found, report)
            for changed in chain.items("augs"):
                _add_changed(chain.inner(changed, "an entry of 'augs'"), parents, found, report)
    else:
        _add(record, chains, found, report)
    return found


def _add(chain: Record, steps: list[Any], found: RecordSteps, report: ReadReport) -> list[int]:
    """Add a chain; the parents of its steps."""
    labels = listed(chain, "labels")
    if len(labels) != len(steps):
        raise chain.error(f"{len(labels)} labels for {len(steps)} steps; give one each, null if unknown")
    parents = []
    parent = ROOT
    for number, (step, value) in enumerate(zip(steps, labels, strict=True), start=1):
        text = chain.as_text(step, f"step {number}")
        if not text.strip():
            raise chain.error(f"step {number} is empty; remove it with its label")
        label = _label(chain, value, f"the label of step {number}")
        report.count("missing_label", int(label is None))
        parents.append(parent)
        parent = found.add(text, parent, confidence=label)
    return parents


def _label(chain: Record, value: Any, what: str) -> float | None:
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, bool):
        return float(value)
    number = as_integer(value)
    if number not in _CONFIDENCES:
        raise chain.error(f"{what} is {shown(value)}; allowed: 1 (right), -1 (wrong), true, false or null")
    return _CONFIDENCES[number]


def _add_changed(changed: Record, parents: list[int], found: RecordSteps, report: ReadReport) -> None:
    index = as_integer(changed.get("aug_idx"))
    if index is None or not 0 <= index < len(parents):
        raise changed.error(f"'aug_idx' is {shown(changed.get('aug_idx'))}; allowed: 0 to {len(parents) - 1}")
    text = changed.text("aug_step")
    if not text.strip():
        raise changed.error("'aug_step' is empty; allowed: text")
    label = _CONFIDENCES.get(as_integer(changed.get("aug_type")) or 0)
    report.count("missing_label", int(label is None))
    found.add(text, parents[index], confidence=label)


DATASET = Dataset(
    name="versa_prm",
    title="chains of thought on the subjects of MMLU-Pro, every step labelled by a model",
    spelling="VersaPRM",
    licence="MIT",
    use="training; its labels are a model's, so that a test on them measures agreement with it",
    page="https://huggingface.co/datasets/UW-Madison-Lee-Lab/MMLU-Pro-CoT-Train-Labeled",
    read=read_versa_prm,
    keys=(frozenset({"question", "chain_of_thoughts"}),),
    version=str(VERSION),
    language="en",
    for_training=True,
    files=(
        RemoteFile(
            "file.csv",
            "https://huggingface.co/datasets/UW-Madison-Lee-Lab/MMLU-Pro-CoT-Train-Labeled/resolve/main/train/file.csv",
        ),
    ),
)

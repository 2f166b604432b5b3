"""ToolPRMBench: after the same history of a tool-using agent, the right next action and a plausible wrong one.

    {"sample_id": "...", "history": [...], "functions": [...], "action_chosen": "...", "action_rejected": "..."}

A row is a tree with two leaves: the history and the functions are its problem, the actions are siblings with the labels
1 and 0. What is no text (an action that is a call, a history of messages) is shown as JSON. Layout:
https://github.com/David-Li0406/ToolPRMBench (arXiv 2601.12294).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from surestep.data.datasets.dataset import Dataset, RemoteFile, RowKeys
from surestep.data.datasets.published.transcript import as_text, described, spoken
from surestep.data.records.bad_rows import BadRows, read_rows
from surestep.data.records.labels import read_name
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record
from surestep.data.trees.text import clean_text
from surestep.data.trees.tree_builder import TreeBuilder, finish
from surestep.types import ReasoningTree

VERSION = 1
"""Changes whenever the trees made from the same file change."""

ACTIONS = {"action_chosen": 1.0, "action_rejected": 0.0}
"""The fields of the two actions, and their labels."""


def read_tool_prm_bench(
    paths: PathOrPaths, *, report: ReadReport, bad_rows: BadRows = "stop"
) -> Iterator[ReasoningTree]:
    """One tree with two leaves for each row.

    Args:
        paths: .jsonl, .json, or either gzipped.
        report: counts what was read.
        bad_rows: see `read_rows`.

    Raises:
        DataError: naming file and line: a broken file; where rows are not skipped, no history, an action that is
            missing or empty, or two that are the same.
    """
    for tree in read_rows(paths, _parse, report=report, bad_rows=bad_rows):
        if tree is not None:
            yield tree


def _parse(record: Record, report: ReadReport) -> ReasoningTree | None:
    history, functions = record.get("history"), record.get("functions")
    if isinstance(history, list) and history and all(isinstance(value, dict) for value in history):
        said = "\n\n".join(_said(record, value) for value in history)
    else:
        said = as_text(record, history, "'history'")
    problem = described([("Functions", as_text(record, functions, "'functions'")), ("History", said)])
    if not problem:
        raise record.error("'history' and 'functions' are empty; one of them says what is to be done")
    name = read_name(record, "sample_id") or read_name(record, "index")
    builder = TreeBuilder(problem, id=name or f"{record.path.name.split('.')[0]}:{record.number or record.line}")
    texts = {field: as_text(record, record.get(field), f"'{field}'") for field in ACTIONS}
    if empty := [field for field, text in texts.items() if not text.strip()]:
        raise record.error(f"'{empty[0]}' is missing; allowed: the action as text, or as an object")
    if len({clean_text(text) for text in texts.values()}) == 1:
        raise record.error("'action_chosen' and 'action_rejected' are the same; allowed: two different actions")
    for field, text in texts.items():
        builder.add(text, confidence=ACTIONS[field])
    return finish(builder, report)


def _said(record: Record, message: dict[str, Any]) -> str:
    """A message as people read it, or as it is where it is of another kind."""
    return spoken(record.inner(message, "a message")) or as_text(record, message, "a message")


_FILES = "https://raw.githubusercontent.com/David-Li0406/ToolPRMBench/b43164fbb2cd2963e1906a6fe62a86e7ce05973e/data/"

DATASET = Dataset(
    name="tool_prm_bench",
    title="the right next action of a tool-using agent and a plausible wrong one",
    spelling="ToolPRMBench",
    licence="none known to this program: see its page",
    use="a test; pairs of actions, ranked by `sibling_pairs`",
    page="https://github.com/David-Li0406/ToolPRMBench",
    read=read_tool_prm_bench,
    rows=(RowKeys(("history", *ACTIONS)),),
    version=str(VERSION),
    language="en",
    files=tuple(
        RemoteFile(f"prmbench_{name}.json", f"{_FILES}prmbench_{name}.json") for name in ("GTA", "bfcl", "tooltalk")
    ),
)

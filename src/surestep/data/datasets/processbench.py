"""ProcessBench (Apache-2.0): solutions with the index of their first wrong step.

Layout: https://huggingface.co/datasets/Qwen/ProcessBench. Steps before the error are right, the error
is wrong, and nobody judged what follows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from surestep.data.datasets.dataset import Dataset, RemoteFile, RowKeys
from surestep.data.records.bad_rows import BadRows, read_rows
from surestep.data.records.labels import as_integer, read_name, whole_number
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record
from surestep.data.trees.tree_builder import TreeBuilder, finish
from surestep.types import ROOT, ReasoningTree

VERSION = 2
"""Changes whenever the trees made from the same file change."""


@dataclass(frozen=True, slots=True)
class Solution:
    """A solution with the step that the benchmark asks for.

    Attributes:
        subset: name of its file without ending: `gsm8k`, `math`, `olympiadbench`, `omnimath`.
        tree: a single path.
        label: index of the first wrong step, -1 where all are right.
    """

    subset: str
    tree: ReasoningTree
    label: int


def read_processbench(paths: PathOrPaths, *, report: ReadReport, bad_rows: BadRows = "stop") -> Iterator[ReasoningTree]:
    """One tree (a single path) for each solution, named by its `id`.

    Steps after the error stay in the tree without a label: finding the first error needs their scores.

    Args:
        paths: the subsets' files, a JSON array or one object a line.
        report: counts everything left out or unlabelled.
        bad_rows: see `read_rows`.

    Raises:
        DataError: naming file and line: a broken file; where rows are not skipped, a `label` that is not a whole
            number, or no problem.
    """
    for _, tree, _ in _read(paths, report, bad_rows):
        yield tree


def read_solutions(paths: PathOrPaths, *, report: ReadReport, bad_rows: BadRows = "stop") -> Iterator[Solution]:
    """The same solutions with their labels; one whose wrong step was dropped with an empty step is left out, counted.

    Raises:
        DataError: as `read_processbench`.
    """
    for record, tree, label in _read(paths, report, bad_rows):
        if label >= len(tree.nodes):
            report.count("error_step_dropped", where=record.place)
        else:
            yield Solution(subset_name(record.path), tree, label)


def subset_name(path: Path) -> str:
    """What a file's subset is called.

    >>> subset_name(Path("ProcessBench/gsm8k.json.gz"))
    'gsm8k'
    """
    return path.name.split(".")[0]


_Read = tuple[Record, ReasoningTree, int]
"""A record, its tree and its label."""


def _read(paths: PathOrPaths, report: ReadReport, bad_rows: BadRows) -> Iterator[_Read]:
    for read in read_rows(paths, _parse, report=report, bad_rows=bad_rows, fetch="processbench"):
        if read is not None:
            yield read


def _parse(record: Record, report: ReadReport) -> _Read | None:
    """None where the record is left out."""
    steps = record.items("steps")
    label = whole_number(record, record.get("label"), "'label'", "-1 (no error) or the index of the first wrong step")
    if label is None:
        raise record.error("'label' is None; allowed: -1 (no error) or the index of the first wrong step")
    if not -1 <= label < len(steps):
        report.count("label_past_end", where=record.place)
        return None
    problem = record.text("problem")
    if not problem.strip():
        raise record.error("'problem' is empty; allowed: text")
    place = f"{subset_name(record.path)}:{record.number or record.line}"
    builder = TreeBuilder(problem, id=read_name(record, "id") or place)
    parent = ROOT
    for index, value in enumerate(steps):
        text = record.as_text(value, f"step {index + 1}")
        if not text.strip():
            report.count("empty_step", where=record.place)
            break
        is_judged = label == -1 or index <= label
        report.count("after_error", int(not is_judged))
        parent = builder.add(text, parent, confidence=float(index != label) if is_judged else None)
    if len(builder) == 0:
        report.count("no_steps", where=record.place)
        return None
    tree = finish(builder, report)
    return None if tree is None else (record, tree, label)


def _has_index(row: Record) -> bool:
    """Whether `label` is an index, not a list of verdicts."""
    label = row.seen("label")
    return as_integer(label) is not None or (row.is_cells and isinstance(label, str))


_FILES = "https://huggingface.co/datasets/Qwen/ProcessBench/resolve/main/"

DATASET = Dataset(
    name="processbench",
    title="solutions with the index of their first wrong step; a test, not for training",
    spelling="ProcessBench",
    licence="Apache-2.0",
    page="https://huggingface.co/datasets/Qwen/ProcessBench",
    read=read_processbench,
    version=str(VERSION),
    inner_folders=("data",),
    rows=(RowKeys(("problem", "steps", "label"), _has_index),),
    judges_every_step=False,
    language="en",
    files=tuple(
        RemoteFile(f"{subset}.json", f"{_FILES}{subset}.json")
        for subset in ("gsm8k", "math", "olympiadbench", "omnimath")
    ),
)

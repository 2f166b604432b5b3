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
from surestep.data.trees.listed_steps import listed_chain
from surestep.data.trees.tree_builder import TreeBuilder, finish
from surestep.types import ROOT, ReasoningTree

VERSION = 2
"""Changes whenever the trees made from the same file change."""


@dataclass(frozen=True, slots=True)
class Solution:
    """A solution with the step that the benchmark asks for.

    Attributes:
        subset: name of its file without ending: `gsm8k`, `math`, `olympiadbench`, `omnimath`.
        tree: a single path with every listed step (`lists_empty_steps`).
        label: index of the first wrong step, -1 where all are right.
    """

    subset: str
    tree: ReasoningTree
    label: int


def read_processbench(paths: PathOrPaths, *, report: ReadReport, bad_rows: BadRows = "stop") -> Iterator[ReasoningTree]:
    """One tree (a single path) for each solution, named by its `id`, as data that is learned from or looked at.

    Steps after the error stay in the tree without a label: finding the first error needs their scores. An empty step
    is dropped with whatever follows it, as in all such data; the benchmark itself keeps it (`read_solutions`).

    Args:
        paths: the subsets' files, a JSON array or one object a line.
        report: counts everything left out or unlabelled.
        bad_rows: see `read_rows`.

    Raises:
        DataError: naming file and line: a broken file; where rows are not skipped, a `label` that is not a whole
            number, or no problem.
    """
    for read in read_rows(paths, tree_of, report=report, bad_rows=bad_rows, fetch="processbench"):
        if read is not None:
            yield read


def read_solutions(paths: PathOrPaths, *, report: ReadReport, bad_rows: BadRows = "stop") -> Iterator[Solution]:
    """The same solutions with their labels and every step that they list, empty ones among them, or none at all.

    Raises:
        DataError: as `read_processbench`.
    """
    for read in read_rows(paths, solution_of, report=report, bad_rows=bad_rows, fetch="processbench"):
        if read is not None:
            yield read


def subset_name(path: Path) -> str:
    """What a file's subset is called.

    >>> subset_name(Path("ProcessBench/gsm8k.json.gz"))
    'gsm8k'
    """
    return path.name.split(".")[0]


@dataclass(frozen=True, slots=True)
class _Listed:
    """What a record lists: `labels` has the label of each of `steps`."""

    problem: str
    id: str
    steps: list[str]
    labels: list[float | None]
    first_wrong: int


def solution_of(record: Record, report: ReadReport) -> Solution | None:
    """The solution of one record of this layout, with every listed step; None, counted, where it is left out."""
    found = _listed(record, report)
    if found is None:
        return None
    tree = listed_chain(found.problem, found.steps, found.labels, id=found.id, report=report, where=record.place)
    return Solution(subset_name(record.path), tree, found.first_wrong)


def tree_of(record: Record, report: ReadReport) -> ReasoningTree | None:
    """The tree of one record of this layout, up to an empty step; None, counted, where it is left out."""
    found = _listed(record, report)
    if found is None:
        return None
    builder = TreeBuilder(found.problem, id=found.id)
    parent = ROOT
    for text, label in zip(found.steps, found.labels, strict=True):
        if not text.strip():
            report.count("empty_step", where=record.place)
            break
        parent = builder.add(text, parent, confidence=label)
    if len(builder) == 0:
        report.count("no_steps", where=record.place)
        return None
    return finish(builder, report)


def _listed(record: Record, report: ReadReport) -> _Listed | None:
    """None, counted, where the label names no step, or where no list of steps is given, not even an empty one."""
    steps = record.items("steps")
    label = whole_number(record, record.get("label"), "'label'", "-1 (no error) or the index of the first wrong step")
    if label is None:
        raise record.error("'label' is None; allowed: -1 (no error) or the index of the first wrong step")
    if not -1 <= label < len(steps):
        report.count("label_past_end", where=record.place)
        return None
    if record.get("steps") is None:
        report.count("no_steps", where=record.place)
        return None
    problem = record.text("problem")
    if not problem.strip():
        raise record.error("'problem' is empty; allowed: text")
    place = f"{subset_name(record.path)}:{record.number or record.line}"
    is_judged = [label == -1 or index <= label for index in range(len(steps))]
    report.count("after_error", is_judged.count(False))
    return _Listed(
        problem,
        read_name(record, "id") or place,
        [record.as_text(value, f"step {number}") for number, value in enumerate(steps, start=1)],
        [float(index != label) if judged else None for index, judged in enumerate(is_judged)],
        label,
    )


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
    read_solutions=read_solutions,
    rows=(RowKeys(("problem", "steps", "label"), _has_index),),
    use="a test: its threshold is chosen on other data",
    version=str(VERSION),
    inner_folders=("data",),
    judges_every_step=False,
    language="en",
    files=tuple(
        RemoteFile(f"{subset}.json", f"{_FILES}{subset}.json")
        for subset in ("gsm8k", "math", "olympiadbench", "omnimath")
    ),
)

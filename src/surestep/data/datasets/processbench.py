"""ProcessBench (Apache-2.0): solutions with the index of their first wrong step.

Layout: https://huggingface.co/datasets/Qwen/ProcessBench. Steps before the error are right, the error
is wrong, and nobody judged what follows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from surestep.data.records.read_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record, as_paths, read_records
from surestep.data.trees.builder import TreeBuilder, finish
from surestep.types import ROOT, ReasoningTree

VERSION = 1
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


def read_processbench(paths: PathOrPaths, *, report: ReadReport) -> Iterator[ReasoningTree]:
    """One tree (a single path) for each solution, named by its `id`.

    Steps after the error stay in the tree without a label: finding the first error needs their scores.

    Args:
        paths: the subsets' files, a JSON array or one object a line.
        report: counts everything left out or unlabelled.

    Raises:
        DataError: naming file and line, where a file is broken or `label` is not a whole number.
    """
    for _, tree, _ in _read(paths, report):
        yield tree


def read_solutions(paths: PathOrPaths, *, report: ReadReport) -> Iterator[Solution]:
    """The same solutions with their labels; one whose wrong step was dropped with an empty step is left out, counted.

    Raises:
        DataError: as `read_processbench`.
    """
    for record, tree, label in _read(paths, report):
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


def _read(paths: PathOrPaths, report: ReadReport) -> Iterator[tuple[Record, ReasoningTree, int]]:
    for path in as_paths(paths):
        for record in read_records(path, fetch="processbench"):
            report.count("records")
            label, steps = record.values.get("label"), record.items("steps")
            if isinstance(label, bool) or not isinstance(label, int):
                raise record.error(f"'label' is {label!r}; allowed: -1 (no error) or the index of the first wrong step")
            if not -1 <= label < len(steps):
                report.count("label_past_end", where=record.place)
                continue
            problem = record.text("problem")
            if not problem.strip():
                raise record.error("'problem' is empty; allowed: text")
            place = f"{subset_name(path)}:{record.number or record.line}"
            builder = TreeBuilder(problem, id=record.optional_text("id") or place)
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
            elif tree := finish(builder, report):
                yield record, tree, label

"""Solutions with their first wrong step and their confidences, from first-error files or from paths of labelled trees.

Knows which solutions belong together and how they are scored; measures nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from surestep.data.datasets import DATASETS
from surestep.data.datasets.processbench import Solution, read_solutions, subset_name
from surestep.data.records.bad_rows import BadRows
from surestep.data.records.reading_report import ReadReport
from surestep.data.trees.identity import problem_key
from surestep.errors import DataError
from surestep.metrics.benchmarks.first_error import NO_ERROR, FirstErrors, blind_f1, first_errors, num_ties
from surestep.scoring.protocol import Scorer
from surestep.scoring.score_file import Confidences
from surestep.scoring.score_split import confidences_by_tree, score_trees
from surestep.scoring.stored_split import ProgressFactory, silent
from surestep.types import ReasoningTree

WRONG_BELOW = 0.5
"""A step of a tree with a label below this is wrong."""


@dataclass(frozen=True)
class SolutionSet:
    """One subset's solutions with a confidence for each of their steps, None where it was not scored.

    A solution with a step that was not scored (beyond the position limit, or null in a file) has no place in figures:
    to count it as right or as missed would both be a guess. `measured` has the others; what it leaves out is counted.
    """

    name: str
    solutions: list[Solution]
    confidences: list[Confidences]

    @cached_property
    def measured(self) -> list[tuple[Solution, list[float]]]:
        """The solutions of which every step was scored; one without steps is among them."""
        pairs = zip(self.solutions, self.confidences, strict=True)
        known = ((solution, [value for value in values if value is not None]) for solution, values in pairs)
        return [(solution, values) for solution, values in known if len(values) == len(solution.tree.nodes)]

    def first_errors(self) -> FirstErrors:
        """The measured ones as columns; solutions of one problem share its number."""
        problems: dict[str, int] = {}
        return first_errors(
            [values for _, values in self.measured],
            [solution.label for solution, _ in self.measured],
            [problems.setdefault(problem_key(solution.tree), len(problems)) for solution, _ in self.measured],
        )

    def num_ties(self, threshold: float) -> int:
        """Steps of measured solutions with a confidence equal to `threshold`."""
        return num_ties((values for _, values in self.measured), threshold)

    def blind(self) -> dict[str, float] | None:
        """What a scorer that does not read could reach on the measured ones; None where F1 has no value."""
        found = blind_f1([s.label for s, _ in self.measured], [len(s.tree.nodes) for s, _ in self.measured])
        return None if found is None else {"f1": found[0], "chance": found[1]}

    @property
    def solutions_not_measured(self) -> int:
        """Solutions left out because a step of theirs has no confidence."""
        return len(self.solutions) - len(self.measured)

    @property
    def steps_not_scored(self) -> int:
        """Steps without a confidence."""
        return sum(value is None for values in self.confidences for value in values)


def read_files(paths: Sequence[Path], report: ReadReport, bad_rows: BadRows = "stop") -> list[Solution]:
    """The solutions of first-error files.

    Raises:
        DataError: a file is missing, malformed or without a usable solution.
    """
    solutions: list[Solution] = []
    for path in paths:
        before = len(solutions)
        solutions += read_solutions(path, report=report, bad_rows=bad_rows)
        if len(solutions) == before:
            raise _unusable(path, report)
    return solutions


def score_solutions(
    scorer: Scorer, solutions: Sequence[Solution], progress: ProgressFactory = silent
) -> list[SolutionSet]:
    """Every subset's solutions, each scored alone."""
    by_name: dict[str, list[Solution]] = {}
    for solution in solutions:
        by_name.setdefault(solution.subset, []).append(solution)
    return [
        SolutionSet(name, found, score_subset(scorer, name, [solution.tree for solution in found], progress))
        for name, found in by_name.items()
    ]


def score_subset(
    scorer: Scorer, name: str, trees: Sequence[ReasoningTree], progress: ProgressFactory = silent
) -> list[Confidences]:
    """A confidence for every step of each tree, None where it was not scored; `name` is how files know the subset."""
    named = [replace(tree, dataset=name) for tree in trees]
    return confidences_by_tree(score_trees(scorer, named, advance=progress(f"scoring {name}")))


def score_paths(
    scorer: Scorer,
    path: Path,
    layout: str,
    report: ReadReport,
    progress: ProgressFactory = silent,
    bad_rows: BadRows = "stop",
) -> SolutionSet:
    """Every path of a file's trees, from the problem to a leaf, as a solution; each tree is scored once.

    Its first wrong step is the first with a label below `WRONG_BELOW`. A path whose steps up to there (all of them,
    where none is wrong) are not all labelled has no known first error and is left out, counted.

    Args:
        scorer: who scores the trees.
        path: the file.
        layout: one of `TREE_LAYOUTS` (`surestep.data.datasets`).
        report: counts what is left out.
        progress: is told of every tree.
        bad_rows: see `read_rows`.

    Raises:
        DataError: the file is missing, malformed or without a usable path.
    """
    read = DATASETS[layout].read
    assert read is not None, layout
    trees = list(read(path, report=report, bad_rows=bad_rows))
    name = subset_name(path)
    values = score_subset(scorer, name, trees, progress)
    solutions: list[Solution] = []
    confidences: list[Confidences] = []
    for tree, each in zip(trees, values, strict=True):
        for nodes in tree.paths():
            label = _first_wrong(tree, nodes)
            if label is None:
                report.count("path_without_verdict")
                continue
            solutions.append(Solution(name, _as_chain(tree, nodes), label))
            confidences.append([each[node] for node in nodes])
    if not solutions:
        raise _unusable(path, report)
    return SolutionSet(name, solutions, confidences)


def path_solutions(path: Path, layout: str, report: ReadReport, bad_rows: BadRows = "stop") -> Iterator[Solution]:
    """Every path of a file's trees as a solution, as `score_paths` makes them; not scored, so each is a chain.

    Raises:
        DataError: the file is missing or malformed.
    """
    read = DATASETS[layout].read
    assert read is not None, layout
    name = subset_name(path)
    for tree in read(path, report=report, bad_rows=bad_rows):
        paths = list(tree.paths())
        for nodes in paths:
            label = _first_wrong(tree, nodes)
            if label is None:
                report.count("path_without_verdict")
            else:
                chain = _as_chain(tree, nodes)
                yield Solution(name, chain if len(paths) > 1 else replace(chain, id=tree.id), label)


def _first_wrong(tree: ReasoningTree, nodes: Sequence[int]) -> int | None:
    for index, node in enumerate(nodes):
        confidence = tree.nodes[node].confidence
        if confidence is None:
            return None
        if confidence < WRONG_BELOW:
            return index
    return NO_ERROR


def _as_chain(tree: ReasoningTree, nodes: Sequence[int]) -> ReasoningTree:
    steps = tuple(replace(tree.nodes[node], parent=rank - 1) for rank, node in enumerate(nodes))
    return replace(tree, nodes=steps, id=f"{tree.id}/{nodes[-1]}")


def _unusable(path: Path, report: ReadReport) -> DataError:
    return DataError("holds no usable solution; " + "; ".join(report.lines()), path=path)

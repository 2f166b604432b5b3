"""Calibration problems: each with its whole trees, their confidences and labels. The unit of every promise.

Steps of one problem succeed and fail together, and so do solutions of it: only whole problems are exchangeable.

Legend: N nodes of one tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from surestep.arrays import FloatArray, IntArray
from surestep.errors import DataError
from surestep.scored import ScoredSteps


@dataclass(frozen=True, slots=True)
class ScoredTree:
    """One tree as columns of its nodes, parents before children.

    Attributes:
        parent: index of the node before, −1 for a first step.
        confidence: after the calibration map, in [0, 1]; NaN where the scorer gave none.
        raw: before the map; NaN exactly where `confidence` is.
        label: in [0, 1]; NaN where nobody judged the step.
    """

    parent: IntArray
    confidence: FloatArray
    raw: FloatArray
    label: FloatArray

    def paths(self) -> Iterator[IntArray]:
        """Each solution's nodes from the first step to the last, by the number of the last; none of an empty tree."""
        parents = self.parent.tolist()
        for leaf in sorted(set(range(len(parents))) - set(parents)):
            nodes = [leaf]
            while (before := parents[nodes[-1]]) >= 0:
                nodes.append(before)
            yield np.array(nodes[::-1], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class ScoredProblem:
    """A problem and everything that was written under it.

    Attributes:
        key: `scored.problem_hash` of its key.
        trees: in the order of the data.
    """

    key: int
    trees: tuple[ScoredTree, ...]

    @property
    def num_labels(self) -> int:
        """How many of its steps somebody judged."""
        return sum(int((~np.isnan(tree.label)).sum()) for tree in self.trees)


def problems_of(steps: ScoredSteps) -> list[ScoredProblem]:
    """The problems of scored steps, in order of first appearance; every step of a tree must have its row.

    Raises:
        DataError: a tree lacks a step that another follows, or has one twice: labels without their parents, or rows
            that were selected.
    """
    trees: dict[int, list[ScoredTree]] = {}
    for rows in steps.rows_by_tree():
        trees.setdefault(int(steps.problem[rows[0]]), []).append(_tree(steps, rows))
    return [ScoredProblem(int(steps.problem_keys[number]), tuple(trees[number])) for number in sorted(trees)]


def _tree(steps: ScoredSteps, rows: IntArray) -> ScoredTree:
    if not np.array_equal(steps.step[rows], np.arange(rows.size)):
        name = steps.tree_ids[int(steps.tree[rows[0]])]
        raise DataError(
            f"tree {name!r} lacks some of its steps or has one twice; allowed: every step of a tree, judged or not, "
            "with the step that it follows: score the trees with the checkpoint"
        )
    return ScoredTree(steps.parent[rows], steps.confidence[rows], steps.raw_confidence[rows], steps.label[rows])

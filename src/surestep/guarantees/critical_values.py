"""The critical values of calibration problems: up to which cut-off each of them keeps something wrong.

Legend: N nodes of one tree or path, M critical values, n problems.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from surestep.arrays import FloatArray, IntArray
from surestep.guarantees.path_scores import ScoreName, path_scores
from surestep.guarantees.problems import ScoredProblem, ScoredTree

Unlabelled = Literal["ignore", "wrong"]
"""What a step that nobody judged counts as: no error that somebody saw, or an error."""

UNLABELLED: tuple[Unlabelled, ...] = get_args(Unlabelled)

Loss = Literal["wrong_step", "soft"]
"""`wrong_step`: 1 where the kept part holds a step with a label below `wrong_below`; `soft`: the largest 1 − label."""

LOSSES: tuple[Loss, ...] = get_args(Loss)


@dataclass(frozen=True, slots=True)
class Judging:
    """What counts as wrong, and by which score steps are kept: the same at calibration and in use.

    Attributes:
        score: see `path_scores`.
        wrong_below: a step is wrong where its label is below this, in (0, 1]: 0.5 lets a neutral step pass, 1 lets only
            a fully right one pass. The `soft` loss does not read it.
        unlabelled: what a step without a label counts as. It stays in its path either way.
        loss: see `Loss`.
    """

    score: ScoreName = "product"
    wrong_below: float = 0.5
    unlabelled: Unlabelled = "ignore"
    loss: Loss = "wrong_step"

    def scores(self, tree: ScoredTree) -> FloatArray:
        """The score of every node, shape (N,): what is compared with the cut-off."""
        return path_scores(tree.parent, tree.confidence if self.score == "product" else tree.raw, self.score)

    def losses(self, label: FloatArray) -> FloatArray:
        """How wrong each step is, in [0, 1], shape (N,).

        >>> Judging().losses(np.array([1.0, 0.5, 0.4, np.nan])).tolist()
        [0.0, 0.0, 1.0, 0.0]
        >>> Judging(unlabelled="wrong", loss="soft").losses(np.array([1.0, 0.5, np.nan])).tolist()
        [0.0, 0.5, 1.0]
        """
        wrong = 1.0 - label if self.loss == "soft" else (label < self.wrong_below).astype(np.float64)
        return np.where(np.isnan(label), float(self.unlabelled == "wrong"), wrong)


@dataclass(frozen=True, slots=True, eq=False)
class CriticalValues:
    """The finite critical values of n problems, and the loss that ends at each.

    Attributes:
        values: shape (M,).
        weights: shape (M,), in (0, 1]; those of one problem sum to at most 1.
        problem: shape (M,), the number of the problem of each, from 0.
        n: problems, those without a critical value included.
    """

    values: FloatArray
    weights: FloatArray
    problem: IntArray
    n: int

    @classmethod
    def of(cls, pairs: Sequence[tuple[FloatArray, FloatArray]]) -> CriticalValues:
        """From the (values, weights) of each problem; what is −∞ is left out, since no cut-off keeps it."""
        if not pairs:
            return cls(np.zeros(0), np.zeros(0), np.zeros(0, np.int64), 0)
        values, weights = (np.concatenate(column) for column in zip(*pairs, strict=True))
        problem = np.repeat(np.arange(len(pairs)), [len(values) for values, _ in pairs])
        finite = np.isfinite(values)
        return cls(values[finite], weights[finite], problem[finite], len(pairs))


def critical_pairs(g: FloatArray, loss: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The cut-offs at which the largest loss among kept nodes falls, and by how much: (values, falls), largest first.

    Of a path and losses of 0 and 1 it is the score of the first wrong step; of a tree, the largest score of a wrong
    node. Nothing where no node has a loss.

    >>> [part.tolist() for part in critical_pairs(np.array([0.9, 0.7, 0.4]), np.array([0.0, 1.0, 1.0]))]
    [[0.7], [1.0]]
    >>> [part.tolist() for part in critical_pairs(np.array([0.9, 0.7, 0.4]), np.array([0.0, 0.5, 1.0]))]
    [[0.7, 0.4], [0.5, 0.5]]
    """
    largest_first = np.argsort(-g, kind="stable")
    highest = np.maximum.accumulate(loss[largest_first]) if g.size else loss
    falls = np.diff(highest, prepend=0.0)
    where = falls > 0.0
    return g[largest_first][where], falls[where]


Solution = tuple[ScoredTree, IntArray]
"""A tree, and the nodes of one of its paths from the first step to the last."""

PathChoice = Callable[[Sequence[Solution]], int]
"""A frozen policy: which of a problem's solutions is handed out, from their scores alone."""


def solutions_of(problem: ScoredProblem) -> list[Solution]:
    """Every solution of the problem."""
    return [(tree, path) for tree in problem.trees for path in tree.paths()]


def of_path(tree: ScoredTree, path: IntArray, judging: Judging) -> tuple[FloatArray, FloatArray]:
    """The (values, weights) of one solution."""
    return critical_pairs(judging.scores(tree)[path], judging.losses(tree.label[path]))


def of_solutions(solutions: Sequence[Solution], judging: Judging) -> tuple[FloatArray, FloatArray]:
    """The (values, weights) of a solution drawn evenly from these: each has the weight 1 / their number."""
    if not solutions:
        return _NOTHING
    pairs = [of_path(tree, path, judging) for tree, path in solutions]
    values, weights = (np.concatenate(column) for column in zip(*pairs, strict=True))
    return values, weights / len(solutions)


def of_tree(problem: ScoredProblem, judging: Judging) -> tuple[FloatArray, FloatArray]:
    """The (values, weights) of everything under the problem together."""
    scores = [judging.scores(tree) for tree in problem.trees]
    losses = [judging.losses(tree.label) for tree in problem.trees]
    return critical_pairs(np.concatenate(scores), np.concatenate(losses)) if scores else _NOTHING


_NOTHING = (np.zeros(0), np.zeros(0))

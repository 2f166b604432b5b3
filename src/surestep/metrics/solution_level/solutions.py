"""From scored steps to judged solutions: every path from a first step to a last one, with its steps' confidences.

A solution is wrong where a step of it is labelled wrong (below 0.5), and right where its last step is labelled and none
is wrong: steps before it that nobody judged (PRM800K's human steps, eQASC's first facts) are no reason against it. Any
other solution has no known label.

Knows columns; knows no file and no text.

Legend: M solutions, T steps of one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surestep.metrics.benchmarks.aggregation import aggregate_all
from surestep.metrics.columns import POSITIVE_LABEL, BoolArray, FloatArray, IntArray, distinct_and_places
from surestep.scored import FIRST_STEP, ScoredSteps

LEFT_OUT = {
    "without_label": "solutions of which it is not known whether they are right: their last step has no label",
    "without_score": "solutions with a step that has no confidence",
    "without_steps": "solutions without a step, which nothing can score",
    "in_broken_trees": "steps of trees that have a step twice, or lack the step that another follows",
}
"""Why solutions are in no figure."""


CHOSEN_STEPS = frozenset({"min", "last"})
"""Aggregates whose score is the confidence of one of the steps."""
_DIGITS = 12
"""Of a computed score; what lies behind them is rounding."""


@dataclass(frozen=True, eq=False)
class JudgedSolutions:
    """Solutions that are known to be right or wrong, and were scored to their end.

    Attributes:
        confidence: of each solution, its steps' confidences, (T,).
        raw: the same before a calibration map.
        is_right: bool [M].
        problem: int64 [M], the number of each one's problem, from 0 without gaps.
        left_out: how many of what kind are not among them, by `LEFT_OUT`.
    """

    confidence: Sequence[FloatArray]
    raw: Sequence[FloatArray]
    is_right: BoolArray
    problem: IntArray
    left_out: dict[str, int]

    def __len__(self) -> int:
        """M."""
        return len(self.is_right)

    def scored_by(self, how: str) -> ScoredSteps:
        """One row a solution: its score by the aggregate `how`, and whether it is right."""
        confidence = _without_noise(aggregate_all(self.confidence, how), how)
        is_raw = self.raw is self.confidence
        raw = confidence if is_raw else _without_noise(aggregate_all(self.raw, how), how)
        return ScoredSteps.of_columns(
            confidence, self.is_right.astype(np.float64), raw_confidence=raw, problem=self.problem
        )


def _without_noise(scores: FloatArray, how: str) -> FloatArray:
    """Scores that differ only by the order in which their steps were multiplied or added are made equal.

    >>> a, b = 0.1 * 0.7 * 0.3, 0.3 * 0.7 * 0.1
    >>> a == b, len(set(_without_noise(np.array([a, b]), "product").tolist()))
    (False, 1)
    """
    if how in CHOSEN_STEPS:
        return scores
    digits = np.floor(np.log10(np.where(scores > 0.0, scores, 1.0)))
    scale = 10.0 ** np.clip(_DIGITS - 1 - digits, None, 300.0)
    rounded: FloatArray = np.round(scores * scale) / scale
    return rounded.clip(0.0, 1.0)


def solutions_of(steps: ScoredSteps) -> JudgedSolutions:
    """The solutions of all trees of `steps`.

    >>> steps = ScoredSteps.of_columns([0.9, 0.2], [1.0, 0.0])
    >>> solutions_of(steps).is_right.tolist()
    [True, False]
    """
    whole = in_whole_trees(steps)
    left_out = dict.fromkeys(LEFT_OUT, 0) | {"in_broken_trees": int((~whole).sum())}
    kept = steps.select(whole)
    found = _Found(left_out)
    in_order = np.lexsort((kept.step, kept.tree))
    firsts = np.flatnonzero(np.diff(kept.tree[in_order], prepend=-1))
    is_chain = _are_chains(kept, in_order, firsts)
    chains = np.repeat(is_chain, np.diff(firsts, append=in_order.size))
    found.add_chains(kept, in_order[chains], np.diff(firsts, append=in_order.size)[is_chain])
    branched = np.sort(in_order[~chains])
    is_branched = np.zeros(len(kept), np.bool_)
    is_branched[branched] = True
    for tree, rows in kept.select(is_branched).paths():
        found.add(kept, tree, branched[rows])
    return found.judged(kept)


class _Found:
    """Solutions of which it is known whether they are right, and how many others there are."""

    def __init__(self, left_out: dict[str, int]) -> None:
        self._left_out = left_out
        self._solutions: list[tuple[int, IntArray, bool]] = []

    def add(self, kept: ScoredSteps, tree: int, rows: IntArray) -> None:
        """A solution: its tree, and its rows from the first step to the last."""
        known = _is_right(kept.label[rows])
        if known is None:
            self._left_out["without_label"] += 1
        elif np.isnan(kept.confidence[rows]).any():
            self._left_out["without_score"] += 1
        else:
            self._solutions.append((tree, rows, known))

    def add_chains(self, kept: ScoredSteps, rows: IntArray, lengths: IntArray) -> None:
        """The same of many: trees of one solution each, whose rows follow each other; so many rows each."""
        if not rows.size:
            return
        ends = np.cumsum(lengths)
        starts = ends - lengths
        label = kept.label[rows]
        is_wrong = np.logical_or.reduceat(label < POSITIVE_LABEL, starts)  # NaN is not below
        is_known = is_wrong | ~np.isnan(label[ends - 1])
        is_scored = ~np.logical_or.reduceat(np.isnan(kept.confidence[rows]), starts)
        self._left_out["without_label"] += int((~is_known).sum())
        self._left_out["without_score"] += int((is_known & ~is_scored).sum())
        trees, each = kept.tree[rows[starts]].tolist(), np.split(rows, starts[1:])
        taken = np.flatnonzero(is_known & is_scored).tolist()
        self._solutions += [(trees[place], each[place], not is_wrong[place]) for place in taken]

    def judged(self, kept: ScoredSteps) -> JudgedSolutions:
        """All of them, by tree; those of one tree in the order in which they came."""
        solutions = sorted(self._solutions, key=lambda solution: solution[0])
        rows_of = [rows for _, rows, _ in solutions]
        lengths = np.array([rows.size for rows in rows_of], np.int64)
        all_rows = np.concatenate([np.empty(0, np.int64), *rows_of])
        starts = np.cumsum(lengths) - lengths
        confidence = np.split(kept.confidence[all_rows], starts[1:]) if rows_of else []
        is_raw = kept.raw_confidence is kept.confidence
        raw = np.split(kept.raw_confidence[all_rows], starts[1:]) if rows_of and not is_raw else []
        return JudgedSolutions(
            confidence,
            confidence if is_raw else raw,
            np.array([is_right for _, _, is_right in solutions], np.bool_),
            distinct_and_places(kept.problem[all_rows[starts]])[1],
            self._left_out,
        )


def _are_chains(steps: ScoredSteps, in_order: IntArray, firsts: IntArray) -> BoolArray:
    """Of each tree whether each step follows the one before it; rows `in_order`, a tree from each of `firsts` on."""
    if not firsts.size:
        return np.empty(0, np.bool_)
    before = np.concatenate(([FIRST_STEP], steps.step[in_order][:-1]))
    before[firsts] = FIRST_STEP
    return np.logical_and.reduceat(steps.parent[in_order] == before, firsts)


def in_whole_trees(steps: ScoredSteps) -> BoolArray:
    """Bool (N,): whether a row is of a tree whose steps are there once each, every step with the one it follows.

    >>> steps = ScoredSteps.of_columns([0.9, 0.2], [1.0, 0.0])
    >>> in_whole_trees(steps).tolist()
    [True, True]
    """
    key, parent = _key(steps.tree, steps.step), _key(steps.tree, steps.parent)
    unique, counts = np.unique(key, return_counts=True)
    is_bad = np.isin(key, unique[counts > 1]) | ((steps.parent != FIRST_STEP) & ~np.isin(parent, unique))
    return np.asarray(~np.isin(steps.tree, np.unique(steps.tree[is_bad])))


def _key(tree: IntArray, step: IntArray) -> IntArray:
    """One number for a tree and a step of it; both are below 2**31."""
    return (tree << 32) + step


def _is_right(label: FloatArray) -> bool | None:
    if (label < POSITIVE_LABEL).any():  # NaN is not below
        return False
    return None if np.isnan(label[-1]) else True

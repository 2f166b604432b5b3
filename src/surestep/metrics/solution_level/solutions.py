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
from surestep.metrics.columns import POSITIVE_LABEL, BoolArray, FloatArray, IntArray
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
    rows_of: list[IntArray] = []
    is_right: list[bool] = []
    kept = steps.select(whole)
    for _, rows in kept.paths():
        known = _is_right(kept.label[rows])
        if known is None:
            left_out["without_label"] += 1
        elif np.isnan(kept.confidence[rows]).any():
            left_out["without_score"] += 1
        else:
            rows_of.append(rows)
            is_right.append(known)
    problems = np.array([kept.problem[rows[0]] for rows in rows_of], np.int64)
    confidence = [kept.confidence[rows] for rows in rows_of]
    is_raw = kept.raw_confidence is kept.confidence
    return JudgedSolutions(
        confidence,
        confidence if is_raw else [kept.raw_confidence[rows] for rows in rows_of],
        np.array(is_right, np.bool_),
        np.unique(problems, return_inverse=True)[1].astype(np.int64).reshape(-1),
        left_out,
    )


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

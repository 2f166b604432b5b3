"""Which solution of a problem is handed out: the frozen policy of the promise for the chosen path.

Ranking candidates and certifying the best of them ask here, so the certificate is for what is handed out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from surestep.arrays import FloatArray
from surestep.guarantees.critical_values import PathChoice, Solution
from surestep.metrics.benchmarks.aggregation import AGGREGATIONS

RankKey = tuple[bool, float, float, int]


def rank_key(score: float, raw_score: float, index: int) -> RankKey:
    """Sorts solutions best first: by score, then by the raw one, then as given; those without a score come last.

    A calibration map may tie what the model told apart.

    >>> sorted([rank_key(0.5, 0.6, 0), rank_key(math.nan, math.nan, 1), rank_key(0.5, 0.7, 2)])[0][-1]
    2
    """
    return (True, 0.0, 0.0, index) if math.isnan(score) else (False, -score, -raw_score, index)


def policy_id(by: str) -> str:
    """The name under which a certificate stores the policy.

    >>> policy_id("min")
    'highest min of calibrated confidences'
    """
    return f"highest {by} of calibrated confidences"


def highest_path(by: str) -> PathChoice:
    """The policy that hands out the solution with the highest `by` (a name of `AGGREGATIONS`) of its confidences."""

    def aggregate(values: FloatArray) -> float:
        return math.nan if not values.size or np.isnan(values).any() else AGGREGATIONS[by](values)

    def choose(solutions: Sequence[Solution]) -> int:
        keys = [
            rank_key(aggregate(tree.confidence[path]), aggregate(tree.raw[path]), index)
            for index, (tree, path) in enumerate(solutions)
        ]
        return min(keys)[-1]

    return choose

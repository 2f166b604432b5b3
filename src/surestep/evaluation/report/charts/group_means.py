"""Means over groups of steps with intervals over problems: what the charts' dots and whiskers are made from.

Knows arrays only. Legend: N steps, K groups, G problems.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from surestep.metrics.bootstrap.draws import FEWEST_PROBLEMS, Draws
from surestep.metrics.bootstrap.interval import percentile
from surestep.metrics.columns import FloatArray, IntArray
from surestep.metrics.figures.figure import Column, ratio

RESAMPLES = 500
"""Enough for a whisker a few pixels long; the figures' own intervals take more."""


@dataclass(frozen=True)
class GroupMeans:
    """Per group k: the mean of its values, their number, and a 95 % interval of the mean.

    All of shape (K,). The mean is NaN for an empty group, `low` and `high` also where fewer than two problems
    have a value in it.
    """

    mean_K: FloatArray
    count_K: IntArray
    low_K: FloatArray
    high_K: FloatArray


def group_means(values_N: FloatArray, group_N: IntArray, problem_N: IntArray, *, num_groups: int) -> GroupMeans:
    """Mean of `values_N` within each group, with a percentile bootstrap over problems.

    Args:
        values_N: float64.
        group_N: 0 to `num_groups` - 1.
        problem_N: any whole numbers; equal ones are drawn together.
        num_groups: K.

    >>> found = group_means(np.array([0.0, 1.0, 0.5]), np.array([0, 0, 1]), np.array([7, 8, 8]), num_groups=3)
    >>> found.mean_K, found.count_K, bool(found.low_K[0] < 0.5 < found.high_K[0]), bool(np.isnan(found.low_K[1]))
    (array([0.5, 0.5, nan]), array([2, 1, 0]), True, True)
    """
    problem = np.unique(problem_N, return_inverse=True)[1].astype(np.int64)
    num_problems = int(problem.max()) + 1 if problem.size else 0
    sums_GK, counts_GK = (
        Column(values, group_N, num_groups).by_problem(problem, num_problems)
        for values in (values_N, np.ones(values_N.size))
    )
    both = np.concatenate([sums_GK, counts_GK], axis=1)
    total = both.sum(axis=0)
    low, high = np.full(num_groups, np.nan), np.full(num_groups, np.nan)
    if num_problems >= FEWEST_PROBLEMS:
        drawn = Draws(num_problems, RESAMPLES).sums(both)
        means_RK = ratio(drawn[:, :num_groups], drawn[:, num_groups:])
        for group in np.flatnonzero((counts_GK > 0).sum(axis=0) >= FEWEST_PROBLEMS):
            interval = percentile(means_RK[:, group], most_undefined=1.0)
            if interval.low is not None and interval.high is not None:
                low[group], high[group] = interval.low, interval.high
    return GroupMeans(ratio(total[:num_groups], total[num_groups:]), total[num_groups:].astype(np.int64), low, high)

"""Which solution of a problem comes first, and which of two steps or solutions is better.

All are sums over problems: what each problem adds and how often it counts, so that resampling problems resamples them.

Ties: every order of equal scores is as likely as any other, and the figure is the mean over them. eQASC's own program
shuffles instead, which gives the same on average.

Legend: M solutions, N steps, G problems.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np

from surestep.metrics.columns import BoolArray, FloatArray, IntArray
from surestep.scored import ScoredSteps

NDCG_DEPTH = 10
"""Places that count, as in eQASC's own program."""


def order_sums(score: FloatArray, is_right: BoolArray, problem: IntArray, num_problems: int) -> FloatArray:
    """What each problem adds: (G, 5).

    Columns: the chance that its first solution is right (P@1), its NDCG, 1 for having a solution, pairs of a right and
    a wrong solution in the right order (half where they tie), and such pairs. A problem without a right solution has
    P@1 and NDCG 0. NDCG has linear gains and the discounts 1 / log2(place + 1) of the first `NDCG_DEPTH` places,
    divided by that of the best order (Järvelin and Kekäläinen 2002).

    Args:
        score: shape (M,).
        is_right: shape (M,).
        problem: shape (M,), from 0.
        num_problems: G.

    >>> order_sums(np.array([0.9, 0.5, 0.5]), np.array([False, True, True]), np.zeros(3, np.int64), 1).round(3).tolist()
    [[0.0, 0.693, 1.0, 0.0, 2.0]]
    """
    sums = np.zeros((num_problems, 5))
    order = np.lexsort((-score, problem))
    ends = np.flatnonzero(np.diff(problem[order], append=-1)) + 1
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    alone = order[starts[ends - starts == 1]] if len(order) else order
    # A problem's only solution is the first, in whatever order.
    sums[problem[alone], 0] = sums[problem[alone], 1] = is_right[alone]
    sums[problem[alone], 2] = 1.0
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if end - start > 1:
            rows = order[start:end]
            blocks = (0, *(np.flatnonzero(np.diff(score[rows])) + 1).tolist(), len(rows))
            sums[problem[rows[0]]] = _sums_of_one(tuple(is_right[rows].tolist()), blocks)
    return sums


@lru_cache(maxsize=4096)
def _sums_of_one(are_right: tuple[bool, ...], blocks: tuple[int, ...]) -> tuple[float, ...]:
    """A row of `order_sums`: of solutions from the highest score down, equal ones from each of `blocks` to the next.

    Many problems have few solutions, so few rows differ.
    """
    right = np.array(are_right, np.float64)
    # Within a block of equal scores each place holds the block's mean.
    gains = np.concatenate([np.full(stop - first, right[first:stop].mean()) for first, stop in pairwise(blocks)])
    above, won = 0.0, 0.0
    for first, stop in pairwise(blocks):
        rights = float(right[first:stop].sum())
        wrongs = stop - first - rights
        won += wrongs * (above + rights / 2)
        above += rights
    discounts = 1.0 / np.log2(np.arange(min(len(right), NDCG_DEPTH)) + 2)
    best = np.sort(right)[::-1][: len(discounts)] @ discounts
    ndcg = gains[: len(discounts)] @ discounts / best if best else 0.0
    return float(gains[0]), float(ndcg), 1.0, won, float(right.sum() * (len(right) - right.sum()))


def sibling_sums(steps: ScoredSteps, num_problems: int) -> FloatArray:
    """What each problem adds: (G, 2), pairs of siblings in the right order (half where they tie), and pairs.

    Siblings are labelled and scored steps of one tree that follow the same step; a pair has different labels, and is in
    the right order where the one with the higher label has the higher raw confidence.

    Args:
        steps: measured rows, problems numbered from 0.
        num_problems: G.
    """
    sums = np.zeros((num_problems, 2))
    if not len(steps):
        return sums
    order = np.lexsort((steps.parent, steps.tree))
    key = np.stack([steps.tree[order], steps.parent[order]])
    ends = np.flatnonzero(np.append((np.diff(key, axis=1) != 0).any(axis=0), True)) + 1
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        if end - start > 1:
            rows = order[start:end]
            won, pairs = _pairs(steps.raw_confidence[rows], steps.label[rows])
            sums[steps.problem[rows[0]]] += won, pairs
    return sums


def _pairs(score: FloatArray, label: FloatArray) -> tuple[float, float]:
    is_better = label[:, None] > label[None, :]
    higher, equal = score[:, None] > score[None, :], score[:, None] == score[None, :]
    return float((is_better & higher).sum() + 0.5 * (is_better & equal).sum()), float(is_better.sum())

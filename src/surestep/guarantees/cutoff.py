"""The cut-off above which steps are kept, from the critical values of calibration problems.

Conformal risk control (Angelopoulos et al., arXiv 2208.02814) with a loss in [0, 1] for each problem: everything that
promises something about new problems asks here. Knows numbers only: no tree, no score, no file.

A critical value R is the largest cut-off at which a problem still has a loss; it has a weight w, the loss that goes at
R. Values of −∞ (nothing can go wrong) may be left out, since `n` counts the problems. Kept is what lies strictly above
the cut-off.

Legend: M critical values, N scores.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from surestep.arrays import FloatArray
from surestep.guarantees.binomial import TOLERANCE, binomial_probabilities

NOTHING_KEPT = math.inf
"""The cut-off where no rule exists."""

EVERYTHING_KEPT = -math.inf
"""The cut-off where the promise holds without a rule."""


def order(alpha: float, n: int) -> int:
    """k: the k-th largest of n critical values keeps the promise α; 0 where no rule exists.

    >>> order(0.1, 39), order(0.05, 18), order(0.05, 19), order(0.29, 99)
    (4, 0, 1, 29)
    """
    return math.floor(alpha * (n + 1) + TOLERANCE)


def order_pac(alpha: float, n: int, delta: float) -> int:
    """The largest k whose risk is at most α in all but a share δ of calibration sets; 0 where there is none.

    The risk of the k-th largest is Beta(k, n + 1 − k) at worst, and P(it is above α) = P(at most k − 1 of n) with
    probability α each. For problems drawn independently and a loss of 0 or 1.

    >>> [order_pac(0.1, n, 0.1) for n in (21, 22, 50, 200, 835)]
    [0, 1, 2, 15, 72]
    """
    if not 0.0 < alpha < 1.0:
        return n if alpha >= 1.0 else 0
    return int((np.cumsum(binomial_probabilities(n, alpha))[:n] <= delta).sum())


def smallest_count(alpha: float) -> int:
    """The fewest problems with which a rule at α exists.

    >>> [smallest_count(alpha) for alpha in (0.05, 0.1, 0.2)]
    [19, 9, 4]
    """
    return max(0, math.ceil(1.0 / alpha - 1.0 - TOLERANCE))


def smallest_count_pac(alpha: float, delta: float) -> int:
    """The fewest problems with which a rule at (α, δ) exists: (1 − α)ⁿ ≤ δ.

    >>> [smallest_count_pac(alpha, 0.1) for alpha in (0.05, 0.1, 0.2)]
    [45, 22, 11]
    """
    return math.ceil(math.log(delta) / math.log1p(-alpha) - TOLERANCE) if alpha < 1.0 else 1


def smallest_alpha(n: int) -> float:
    """The smallest α at which n problems give a rule.

    >>> round(smallest_alpha(12), 3)
    0.077
    """
    return 1.0 / (n + 1)


def smallest_alpha_pac(n: int, delta: float) -> float:
    """The smallest α at which n problems give a rule at (α, δ); 1 without a problem.

    >>> order_pac(smallest_alpha_pac(30, 0.1), 30, 0.1)
    1
    """
    return 1.0 - delta ** (1.0 / n) + TOLERANCE if n else 1.0


def room(alpha: float, n: float) -> float:
    """The summed loss that n problems may have at the cut-off: α (n + 1) − 1, since the new one may lose 1."""
    return alpha * (n + 1) - 1.0 + TOLERANCE


def cutoff(R: npt.ArrayLike, w: npt.ArrayLike, n: float, alpha: float) -> float:
    """The smallest cut-off at which the expected loss of a new problem is at most α.

    Args:
        R: shape (M,), critical values; −∞ allowed, NaN not.
        w: shape (M,), the loss that ends at each; those of one problem sum to at most 1.
        n: number of problems, those without a critical value included. Where problems weigh unequally (a known change
            of their mix), their summed weight over the weight of the new one, and `w` likewise.
        alpha: in (0, 1).

    Returns:
        A value of R; `NOTHING_KEPT` where no rule exists; `EVERYTHING_KEPT` where nothing needs to go.

    >>> cutoff(np.arange(1, 40) / 100, np.ones(39), 39, 0.1)
    0.36
    >>> cutoff([0.9, 0.2, 0.8], [0.5, 0.5, 1.0], 3, 0.5)
    0.8
    """
    return cutoff_with_room(R, w, room(alpha, n))


def cutoff_pac(R: npt.ArrayLike, n: int, alpha: float, delta: float) -> float:
    """The smallest cut-off whose risk is at most α in all but a share δ of calibration sets; one value a problem.

    >>> cutoff_pac(np.arange(22), 22, 0.1, 0.1), cutoff_pac(np.arange(21), 21, 0.1, 0.1)
    (21.0, inf)
    """
    values = np.asarray(R, dtype=np.float64)
    return cutoff_with_room(values, np.ones_like(values), order_pac(alpha, n, delta) - 1.0 + TOLERANCE)


def cutoff_with_room(R: npt.ArrayLike, w: npt.ArrayLike, allowed: float) -> float:
    """The smallest cut-off at which the summed loss is at most `allowed` (`room`).

    >>> cutoff_with_room([0.3, 0.5], [1.0, 1.0], 1.0), cutoff_with_room([0.3, 0.5], [1.0, 1.0], -0.1)
    (0.3, inf)
    """
    if allowed < 0.0:
        return NOTHING_KEPT
    values, totals = sorted_losses(R, w)
    first = int(np.searchsorted(totals, allowed, side="right"))
    return float(values[first]) if first < values.size else EVERYTHING_KEPT


def sorted_losses(R: npt.ArrayLike, w: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """The critical values, largest first, and the summed loss just below each: both of shape (M,)."""
    values, weights = np.asarray(R, dtype=np.float64), np.asarray(w, dtype=np.float64)
    if np.isnan(values).any() or np.isnan(weights).any():
        raise ValueError("a critical value or weight is NaN")
    largest_first = np.argsort(-values, kind="stable")
    return values[largest_first], np.cumsum(weights[largest_first])


def levels(g: npt.ArrayLike, R: npt.ArrayLike, w: npt.ArrayLike, n: float) -> FloatArray:
    """The smallest α at which each score is kept, shape (N,): (1 + the summed loss of R ≥ g) / (n + 1).

    A score is above `cutoff(R, w, n, alpha)` exactly where its level is at most α. Valid for an α fixed beforehand, not
    for one chosen after looking. A score of −∞ is never kept; its level is 1.

    >>> levels([0.95, 0.5, 0.1], [0.9, 0.5, 0.3], [1.0, 1.0, 1.0], 3).tolist()
    [0.25, 0.75, 1.0]
    """
    scores = np.asarray(g, dtype=np.float64)
    values, totals = sorted_losses(R, w)
    at_least = np.searchsorted(-values, -scores, side="right")
    # Rounded, since three weights of 1/3 sum to less than 1: a level of exactly α is kept.
    lost = np.concatenate([[0.0], totals]).round(9)[at_least]
    return np.where(np.isneginf(scores), 1.0, np.minimum(1.0, (1.0 + lost) / (n + 1)))


def leave_one_out_cutoffs(
    R: FloatArray, w: FloatArray, problem: npt.NDArray[np.int64], n: int, allowed: float
) -> FloatArray:
    """The cut-off of each problem from all others, shape (n,): for figures of what is kept, never for the risk.

    The risk at these cut-offs is floor(α n) / n by construction and says nothing.

    Args:
        R: shape (M,), critical values.
        w: shape (M,), the weight of each.
        problem: shape (M,), the number of the problem of each.
        n: problems.
        allowed: the summed loss that the n − 1 others may have, as in `cutoff_with_room`.

    >>> leave_one_out_cutoffs(np.array([0.9, 0.5]), np.ones(2), np.array([0, 1]), 3, 0.5).tolist()
    [0.5, 0.9, 0.9]
    """
    if allowed < 0.0:
        return np.full(n, NOTHING_KEPT)
    largest_first = np.argsort(-R, kind="stable")
    values = np.append(R[largest_first], EVERYTHING_KEPT)
    totals = np.cumsum(w[largest_first])
    first = int(np.searchsorted(totals, allowed, side="right"))
    cutoffs = np.full(n, values[first])
    places: dict[int, list[int]] = {}
    for place, number in enumerate(problem[largest_first].tolist()):
        places.setdefault(number, []).append(place)
    for number, own in places.items():
        at, removed = first, -1.0
        # What the problem itself adds up to a place is taken out there; each round can only move the place on.
        while removed != (taken := float(sum(w[largest_first[place]] for place in own if place <= at))):
            removed = taken
            at = int(np.searchsorted(totals, allowed + removed, side="right"))
        cutoffs[number] = values[at]
    return cutoffs

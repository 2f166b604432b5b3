"""Binomial tails, and the Beta distribution of a calibration set's own risk, which is one of them.

Knows whole numbers and probabilities only.
"""

from __future__ import annotations

import math

import numpy as np

from surestep.arrays import FloatArray

TOLERANCE = 1e-9
"""Added before a product of decimals is cut to a whole number: 0.29 · 100 is 28.999999999999996."""

_HALVINGS = 60


def binomial_probabilities(n: int, p: float) -> FloatArray:
    """P(exactly j of n) for j = 0 … n, by logarithms, so that n may be many thousands.

    Args:
        n: trials, at least 0.
        p: probability of each, in [0, 1].

    >>> binomial_probabilities(2, 0.5).round(3).tolist()
    [0.25, 0.5, 0.25]
    """
    if p <= 0.0 or p >= 1.0:
        certain = np.zeros(n + 1)
        certain[0 if p <= 0.0 else n] = 1.0
        return certain
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1, dtype=np.float64)))])
    j = np.arange(n + 1)
    log_choose = log_factorial[n] - log_factorial - log_factorial[::-1]
    return np.asarray(np.exp(log_choose + j * math.log(p) + (n - j) * math.log1p(-p)))


def binomial_cdf(j: int, n: int, p: float) -> float:
    """P(at most j of n); 0 below 0.

    >>> binomial_cdf(0, 22, 0.1) <= 0.1 < binomial_cdf(0, 21, 0.1)
    True
    """
    if j < 0:
        return 0.0
    return float(min(1.0, binomial_probabilities(n, p)[: j + 1].sum()))


def beta_cdf(x: float, k: int, n: int) -> float:
    """P(risk ≤ x) where the risk is Beta(k, n + 1 − k): that of the k-th largest of n values, for whole k from 1 to n.

    It equals P(at least k of n) for a binomial with probability x (order statistics of uniform values).

    >>> round(1 - beta_cdf(0.1, 5, 50), 3)
    0.431
    """
    return 1.0 - binomial_cdf(k - 1, n, x)


def beta_quantile(q: float, k: int, n: int) -> float:
    """The x with P(risk ≤ x) = q for the risk Beta(k, n + 1 − k).

    >>> round(beta_quantile(0.95, 83, 835), 3)
    0.117
    """
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if beta_cdf(middle, k, n) < q else (low, middle)
    return high


def beta_interval(confidence: float, k: int, n: int) -> tuple[float, float]:
    """The central interval that holds the risk Beta(k, n + 1 − k) with probability `confidence`.

    >>> [round(bound, 3) for bound in beta_interval(0.9, 5, 50)]
    [0.04, 0.174]
    """
    tail = (1.0 - confidence) / 2
    return beta_quantile(tail, k, n), beta_quantile(1.0 - tail, k, n)

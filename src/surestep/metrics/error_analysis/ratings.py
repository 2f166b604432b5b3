"""What is known of the single ratings behind a label that is their mean.

A label of one rating says nothing of how raters differ. One of several does: with the values that a single rating can
take, the mean and the count leave few sets of ratings, often one. Knows labels and counts; knows no confidence.

Legend: N steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations_with_replacement
from math import comb

import numpy as np

from surestep.metrics.columns import FloatArray, IntArray

MOST_VALUES = 12
"""Values that single ratings take; more are no scale."""
_MOST_SETS = 20_000
_DIGITS = 9


def rating_scale(label: FloatArray, num_ratings: IntArray) -> tuple[float, ...]:
    """The values that single ratings take, from the labels of steps rated once; () where they are no scale.

    >>> rating_scale(np.array([1.0, 0.0, 0.75]), np.array([1, 1, 4]))
    (0.0, 1.0)
    """
    values = np.unique(label[num_ratings == 1])
    return tuple(values.tolist()) if 0 < values.size <= MOST_VALUES else ()


def rating_variance(label: FloatArray, num_ratings: IntArray, scale: Sequence[float]) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest variance, Σ (r − mean)² / (k − 1), of the k ratings behind each label, (N,) each.

    NaN where there is one rating or none. Where the ratings have too many values or are too many to be listed, or no
    set of them has the label as its mean, the bounds are those of any ratings in [0, 1].

    >>> low, high = rating_variance(np.array([0.25, 0.5, 1.0]), np.array([2, 2, 2]), (0.0, 0.5, 1.0))
    >>> low.tolist(), high.tolist()
    ([0.125, 0.0, 0.0], [0.125, 0.5, 0.0])
    """
    low, high = np.full(label.shape, np.nan), np.full(label.shape, np.nan)
    pairs = np.stack([label, num_ratings.astype(np.float64)], axis=1)
    several = num_ratings >= 2
    for mean, count in np.unique(pairs[several], axis=0).tolist():
        rows = several & (label == mean) & (num_ratings == count)
        low[rows], high[rows] = _bounds(mean, int(count), tuple(scale))
    return low, high


def _bounds(mean: float, count: int, scale: tuple[float, ...]) -> tuple[float, float]:
    found = _variances(count, scale).get(round(mean, _DIGITS)) if scale else None
    if found is not None:
        return found
    # Any ratings in [0, 1] of this mean: all alike, or as many at the ends as it allows.
    return 0.0, mean * (1.0 - mean) * count / (count - 1)


@lru_cache(maxsize=256)
def _variances(count: int, scale: tuple[float, ...]) -> dict[float, tuple[float, float]]:
    """Mean of each set of `count` ratings to the lowest and highest variance that sets of that mean have."""
    if comb(count + len(scale) - 1, count) > _MOST_SETS:
        return {}
    found: dict[float, tuple[float, float]] = {}
    for ratings in combinations_with_replacement(scale, count):
        mean = sum(ratings) / count
        variance = sum((rating - mean) ** 2 for rating in ratings) / (count - 1)
        variance = 0.0 if variance < 10.0**-_DIGITS else variance
        low, high = found.get(round(mean, _DIGITS), (variance, variance))
        found[round(mean, _DIGITS)] = min(low, variance), max(high, variance)
    return found

"""Intervals as they stand in a report: 95 %, from resampled problems.

Knows how a list of resampled values becomes an interval; knows no figure. NaN among the values stands for a resample
in which the figure has none (one class only): these are left out and counted.

Legend: R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from surestep.metrics.bootstrap.inversion import Inverted
from surestep.metrics.columns import FloatArray
from surestep.metrics.resamples import DEFAULT_LEVEL

PERCENTILE = "percentile"
TEST_INVERSION = "test inversion"
FEWEST_PROBLEMS = 2

_FEWEST_DEFINED = 0.5


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval.

    Attributes:
        low, high: its ends; None where fewer than half of the resamples gave a value.
        method: how it was made, a key of the notes.
        undefined_resamples: how many gave no value.
    """

    low: float | None
    high: float | None
    method: str = PERCENTILE
    undefined_resamples: int = 0

    def to_json(self) -> dict[str, object]:
        """`low`, `high` and `method`, and the count of undefined resamples where it is not 0."""
        result: dict[str, object] = {"low": self.low, "high": self.high, "method": self.method}
        if self.undefined_resamples:
            result["undefined_resamples"] = self.undefined_resamples
        return result


def percentile_interval(draws: FloatArray, *, level: float = DEFAULT_LEVEL) -> Interval:
    """The middle `level` of the draws, shape (R,).

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.

    >>> percentile_interval(np.array([0.5, 0.5])).to_json()
    {'low': 0.5, 'high': 0.5, 'method': 'percentile'}
    """
    defined = draws[~np.isnan(draws)]
    missing = int(draws.size - defined.size)
    if defined.size == 0 or defined.size < _FEWEST_DEFINED * draws.size:
        return Interval(None, None, undefined_resamples=missing)
    tail = 0.5 * (1.0 - level)
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return Interval(float(low), float(high), undefined_resamples=missing)


def inverted_to_interval(found: Inverted) -> Interval:
    """The interval of `inversion`, in the same form."""
    return Interval(found.low, found.high, TEST_INVERSION)


def intervals_json(draws: Mapping[str, FloatArray]) -> dict[str, object]:
    """Percentile intervals of several figures, by name."""
    return {name: percentile_interval(values).to_json() for name, values in draws.items()}

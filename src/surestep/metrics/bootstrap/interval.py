"""What an interval is, and how the middle of a figure's draws becomes one. Knows no figure.

NaN among the draws stands for one in which the figure has no value (one class only): these are left out and counted.

Legend: R resamples.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from surestep.metrics.bootstrap.inversion import Inverted
from surestep.metrics.columns import FloatArray

DEFAULT_LEVEL = 0.95
PERCENTILE = "percentile"
TEST_INVERSION = "test inversion"


class Interval(NamedTuple):
    """A 95 % interval.

    Attributes:
        low, high: its ends; both None where too few of the draws gave a value.
        method: how it was made, a key of the report's notes.
        undefined_resamples: how many draws gave no value.
        if_calibrated: mean and 97.5 % quantile that a perfectly calibrated model with the same noise would show, for
            figures that are calibration errors.
    """

    low: float | None
    high: float | None
    method: str = PERCENTILE
    undefined_resamples: int = 0
    if_calibrated: tuple[float, float] | None = None

    def clipped(self, low: float, high: float) -> Interval:
        """The part of it within the range that the figure can have.

        >>> Interval(-0.25, 1.25).clipped(0.0, 1.0)[:2]
        (0.0, 1.0)
        """
        if self.low is None or self.high is None:
            return self
        return self._replace(low=min(max(self.low, low), high), high=min(max(self.high, low), high))

    def to_json(self) -> dict[str, object]:
        """`low`, `high` and `method`, and the count of undefined resamples where it is not 0."""
        result: dict[str, object] = {"low": self.low, "high": self.high, "method": self.method}
        if self.undefined_resamples:
            result["undefined_resamples"] = self.undefined_resamples
        return result


def percentile(draws: FloatArray, *, level: float = DEFAULT_LEVEL, most_undefined: float = 0.5) -> Interval:
    """The middle `level` of the draws, shape (R,).

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.

    Args:
        draws: NaN where the figure has no value.
        level: share of the draws within.
        most_undefined: share of the draws that may have no value; where more have none there is no interval.

    >>> percentile(np.array([0.5, 0.5])).to_json()
    {'low': 0.5, 'high': 0.5, 'method': 'percentile'}
    """
    defined = draws[~np.isnan(draws)]
    missing = int(draws.size - defined.size)
    if defined.size == 0 or missing > most_undefined * draws.size:
        return Interval(None, None, undefined_resamples=missing)
    tail = 0.5 * (1.0 - level)
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return Interval(float(low), float(high), undefined_resamples=missing)


def inverted(found: Inverted) -> Interval:
    """The interval of `inversion`, in the same form."""
    return Interval(
        found.low, found.high, TEST_INVERSION, if_calibrated=(found.mean_if_calibrated, found.high_if_calibrated)
    )

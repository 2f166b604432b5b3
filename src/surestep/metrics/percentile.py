"""Sums over resampled problems, and the interval that holds the middle of a figure's resamples.

For figures that are made of sums over problems (accuracies, F1, mean accuracies): the sums are resampled, the figure
is made of them anew. Knows no figure.

Shapes: `R` resamples, `G` problems, `F` sums.
"""

from __future__ import annotations

import zlib

import numpy as np

from surestep.metrics.columns import FloatArray
from surestep.metrics.resamples import DEFAULT_LEVEL, DEFAULT_RESAMPLES, resample_counts

METHOD = "percentile bootstrap over problems"


def resampled_sums(table: FloatArray, *, resamples: int = DEFAULT_RESAMPLES, seed: int = 0) -> FloatArray:
    """`table` [G, F], one row a problem, summed over each resample of its problems: [R, F].

    >>> resampled_sums(np.ones((5, 2)), resamples=3).tolist()
    [[5.0, 5.0], [5.0, 5.0], [5.0, 5.0]]
    """
    sums = [counts @ table for counts in resample_counts(len(table), resamples=resamples, seed=seed)]
    return np.array(sums, np.float64).reshape(resamples, table.shape[1])


def sums_by_group(group: np.ndarray, table: FloatArray) -> FloatArray:
    """Rows of `table` [N, F] of one group added up: [G, F], groups in the order of their numbers.

    >>> sums_by_group(np.array([7, 3, 7]), np.array([[1.0], [2.0], [4.0]])).tolist()
    [[2.0], [5.0]]
    """
    names, dense = np.unique(group, return_inverse=True)
    result = np.zeros((len(names), table.shape[1]))
    np.add.at(result, dense, table)
    return result


def seed_for(seed: int, name: str) -> int:
    """A seed for one of several parts that are resampled apart, whatever other parts there are.

    With one seed for all, parts of equally many problems would be drawn alike, and their mean's interval would be
    too wide.
    """
    return (seed << 32) ^ zlib.crc32(name.encode())


def percentile_interval(draws: FloatArray, *, level: float = DEFAULT_LEVEL) -> dict[str, object] | None:
    """The interval of a figure from its resamples [R]; NaN where a resample leaves the figure without a value.

    None where no resample gives a value. `undefined_resamples` is named where some do not.

    >>> percentile_interval(np.arange(101.0))["high"]
    97.5
    """
    known = draws[~np.isnan(draws)]
    if known.size == 0:
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    interval: dict[str, object] = {"low": float(low), "high": float(high), "level": level, "method": METHOD}
    if known.size < draws.size:
        interval["undefined_resamples"] = int(draws.size - known.size)
    return interval

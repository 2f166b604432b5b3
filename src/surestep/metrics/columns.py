"""The arrays that every metric takes, checked once and in one way.

A metric is a function of `confidence`, `label` and, optionally, `weights`, one entry a step. A weight
says how often a step counts: a bootstrap over problems is the same arrays with other weights, and a
weight of 2 equals a repeated row. Knows nothing of datasets, problems or where the numbers come from.

Legend: N steps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from surestep.arrays import BoolArray as BoolArray
from surestep.arrays import FloatArray as FloatArray
from surestep.arrays import IntArray as IntArray
from surestep.arrays import check_unit_interval as check_unit_interval
from surestep.arrays import distinct_and_places as distinct_and_places

POSITIVE_LABEL = 0.5
"""A label of at least this counts as "the step is right" wherever a binary label is needed."""


class UndefinedFigureError(ValueError):
    """A figure has no value on this data (one class only, no variance, no steps).

    Raised rather than returned, so that no caller takes 0 or NaN for a measurement; a report writes
    null and `reason` in its place.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Columns(NamedTuple):
    """Checked input of a metric: three float64 arrays of one length N > 0, all weights above 0."""

    confidence: FloatArray
    label: FloatArray
    weights: FloatArray


def check_columns(confidence: npt.ArrayLike, label: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Columns:
    """Bring a metric's input to float64 and refuse what no metric can stand.

    Rows of weight 0 are left out, as if they were not there.

    Args:
        confidence: shape (N,), in [0, 1].
        label: shape (N,), in [0, 1]; soft labels allowed.
        weights: shape (N,), finite and at least 0; every step counts once where left out.

    Raises:
        DataError: a confidence or label is outside [0, 1] or NaN.
        ValueError: the shapes differ, or a weight is negative or not finite.
        UndefinedFigureError: no step is left.

    >>> check_columns([0.2, 0.9], [0, 1], [0, 3]).confidence
    array([0.9])
    """
    p = np.asarray(confidence, dtype=np.float64)
    y = np.asarray(label, dtype=np.float64)
    w = np.ones(p.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if p.ndim != 1 or not p.shape == y.shape == w.shape:
        raise ValueError(
            f"confidence {p.shape}, label {y.shape} and weights {w.shape} must be one-dimensional and alike"
        )
    check_unit_interval("confidence", p, "a logit needs a sigmoid first")
    check_unit_interval("label", y, "leave unlabelled steps out")
    if weights is not None:
        if not np.isfinite(w).all() or (w < 0).any():
            raise ValueError("weights must be finite and at least 0")
        if not w.all():
            present = w > 0
            p, y, w = p[present], y[present], w[present]
    if p.size == 0:
        raise UndefinedFigureError("there are no labelled steps")
    return Columns(p, y, w)


def weighted_mean(values: FloatArray, weights: FloatArray) -> float:
    """Mean of `values`, shape (N,), each counted `weights` times.

    >>> weighted_mean(np.array([1.0, 4.0]), np.array([2.0, 1.0]))
    2.0
    """
    # Not np.dot: numpy's pairwise summation gives the same digits on any number of BLAS threads.
    return float(np.sum(values * weights) / np.sum(weights))


def bin_sums(bins: npt.NDArray[np.intp] | IntArray, values: FloatArray | None = None, num_bins: int = 0) -> FloatArray:
    """Sum of `values`, shape (N,), in each bin (how many steps, where left out); shape (B,), float64.

    >>> bin_sums(np.array([0, 2, 2]), np.array([0.5, 1.0, 2.0]), 4)
    array([0.5, 0. , 3. , 0. ])
    """
    sums: FloatArray = np.bincount(bins, values, num_bins).astype(np.float64, copy=False)
    return sums

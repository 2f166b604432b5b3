"""A calibration error whose square is corrected for the noise of its bins.

The plain estimate of a squared gap is too large by the variance of the bin's mean; here that variance is estimated
and taken off. Knows which problem a step belongs to, since steps of one problem are not independent.

Legend: d = p − y, n steps, b bin.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from surestep.metrics.calibration_error import NUM_BINS, equal_mass_bins
from surestep.metrics.columns import FloatArray, UndefinedFigureError, bin_sums, check_columns


def rms_calibration_error(
    confidence: npt.ArrayLike, label: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> float:
    """Debiased root-mean-square calibration error over equal-mass bins, every step taken as independent.

    √max(0, Σ_b (n_b / n) (d̄_b² − s_b² / n_b)), s_b² the variance of d in the bin, with n_b − 1. For binary labels
    and one confidence a bin this is the debiased estimator of Kumar, Liang, Ma (NeurIPS 2019), equation of section 4.
    0 means: no gap beyond the noise. Bins of one step have no variance and are left out.

    Raises:
        UndefinedFigureError: no bin holds two steps.

    >>> rms_calibration_error([0.5] * 4, [0, 0, 1, 1])
    0.0
    >>> rms_calibration_error([0.75] * 4, [0, 0, 0, 0])
    0.75
    """
    p, y, w = check_columns(confidence, label, weights)
    bins = equal_mass_bins(p, NUM_BINS, w)
    d = p - y
    mass = bin_sums(bins, w, NUM_BINS)
    mean = _ratio(bin_sums(bins, w * d, NUM_BINS), mass)
    spread = bin_sums(bins, w * (d - mean[bins]) ** 2, NUM_BINS)
    return _root(mean, _ratio(spread, mass * (mass - 1.0)), mass, mass > 1.0, "two steps")


def rms_calibration_error_by_problem(confidence: npt.ArrayLike, label: npt.ArrayLike, problem: npt.ArrayLike) -> float:
    """The same, with the variance of each bin's mean over problems, so that steps of one problem may depend.

    The variance is G_b / (G_b − 1) Σ_g (Σ_{i in g, b} (d_i − d̄_b))² / n_b², G_b the problems with a step in the bin
    (the cluster-robust form); with one step a problem it is `rms_calibration_error`.

    Args:
        confidence: shape (N,), in [0, 1].
        label: shape (N,), in [0, 1].
        problem: shape (N,), which problem each step belongs to.

    Raises:
        UndefinedFigureError: no bin holds steps of two problems.

    >>> rms_calibration_error_by_problem([0.5, 0.5], [0.0, 1.0], [0, 1])
    0.0
    """
    p, y, _ = check_columns(confidence, label)
    bins = equal_mass_bins(p)
    d = p - y
    mass = bin_sums(bins, num_bins=NUM_BINS)
    mean = _ratio(bin_sums(bins, d, NUM_BINS), mass)
    _, index = np.unique(np.asarray(problem), return_inverse=True)
    pairs, pair = np.unique(index * NUM_BINS + bins, return_inverse=True)
    moved = bin_sums(pair, d - mean[bins])
    problems = bin_sums(pairs % NUM_BINS, num_bins=NUM_BINS)
    squares = bin_sums(pairs % NUM_BINS, moved**2, NUM_BINS)
    variance = _ratio(squares * problems, (problems - 1.0) * mass**2)
    return _root(mean, variance, mass, problems > 1.0, "steps of two problems")


def _root(mean: FloatArray, variance: FloatArray, mass: FloatArray, known: npt.NDArray[np.bool_], what: str) -> float:
    if not known.any():
        raise UndefinedFigureError(f"no bin holds {what}, so the noise of a bin is unknown")
    squared = float(np.sum(mass[known] * (mean[known] ** 2 - variance[known])) / mass[known].sum())
    return float(np.sqrt(max(squared, 0.0)))


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0.0)

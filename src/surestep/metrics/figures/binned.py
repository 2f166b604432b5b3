"""Calibration errors over bins: the expected one twice, and a root-mean-square one corrected for noise.

The plain estimates of the expected error are biased upward on few steps, and are not corrected; their intervals are.
Knows which problem a step belongs to where noise is estimated, since steps of one problem are not independent.

Legend: p confidence, y label, d = p − y, w weight, W = Σ w, b bin, B bins.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from surestep.metrics.bootstrap.inversion import Inverted, inverted_interval
from surestep.metrics.columns import FloatArray, IntArray, bin_sums
from surestep.metrics.figures.bins import NUM_BINS, equal_mass_bins, equal_width_bins
from surestep.metrics.figures.figure import Column, Columns, Figure, OfProblem, Sums, Totals, ratio

Size = Callable[[FloatArray, FloatArray], FloatArray]
"""(gaps (..., B), share of the steps in each bin (B,)) -> (...)."""


def total(gaps: FloatArray, share: FloatArray | None = None) -> FloatArray:
    """Σ |gap| over the last axis: the expected calibration error, where a gap is Σ (p − y) in a bin over all steps.

    >>> float(total(np.array([0.25, -0.5])))
    0.75
    """
    return np.asarray(np.abs(gaps).sum(axis=-1))


def mean_square(gaps: FloatArray, share: FloatArray) -> FloatArray:
    """Σ share (mean gap in the bin)² over the last axis."""
    return np.asarray((gaps**2 / share).sum(axis=-1))


def inverted_over_bins(gap: Callable[[Totals], FloatArray], size: Size) -> Callable[[Totals, Totals], Inverted]:
    """Intervals by test inversion of a figure that is the size of gaps in bins.

    Args:
        gap: sums -> Σ gap in each bin over its steps, (..., B). The sums have `mass`, the steps in each bin, too.
        size: the figure from gaps over all steps and the share of the steps in each bin.
    """

    def invert(seen: Totals, resampled: Totals) -> Inverted:
        used = np.flatnonzero(seen["mass"])
        steps = seen["mass"].sum()
        share = seen["mass"][used] / steps
        gaps = gap(seen)[used] / steps
        drawn = gap(resampled)[:, used] / resampled["mass"].sum(axis=1)[:, None]
        return inverted_interval(gaps, drawn, lambda values: size(values, share))

    return invert


def _ece(bins_of: Callable[[FloatArray, FloatArray], IntArray], num_bins: int) -> Sums:
    def columns(p: FloatArray, y: FloatArray, w: FloatArray) -> Columns:
        bins = bins_of(p, w)
        return {"gap": Column(p - y, bins, num_bins), "mass": Column(np.ones(p.shape), bins, num_bins)}

    # (W_b / W) |mean p − mean y| = |Σ w (p − y)| / W: no division by an empty bin.
    return Sums(
        columns,
        lambda sums: ratio(total(sums["gap"]), sums["mass"].sum(axis=-1)),
        inverted_over_bins(lambda sums: sums["gap"], total),
    )


def ece_over(num_bins: int) -> Figure:
    """`ece` over another number of bins.

    >>> round(ece_over(2)([0.0, 0.3, 1.0, 1.0], [0.0, 0.5, 1.0, 0.0]), 3)
    0.3
    """
    return Figure(
        "ece",
        "ECE",
        "lower",
        _ece(lambda p, w: equal_width_bins(p, num_bins), num_bins),
        range=(0.0, 1.0),
        meaning=f"Mean distance between confidence and label over {num_bins} bins; 0 is best.",
        note=(
            f"{num_bins} bins of equal width: [0, 0.1), [0.1, 0.2), ... [0.9, 1.0]; a lower edge belongs to its "
            "bin, 1.0 to the last; edges are the float64 values of 0.1, 0.2, ... The estimate is the plain one, "
            "biased upward on few steps."
        ),
    )


def ece_equal_mass_over(num_bins: int) -> Figure:
    """`ece_equal_mass` over another number of bins.

    >>> ece_equal_mass_over(2)([0.25, 0.25, 0.75, 0.75], [0.0, 0.5, 1.0, 1.0])
    0.125
    """
    return Figure(
        "ece_equal_mass",
        "ECE, equal mass",
        "lower",
        _ece(lambda p, w: equal_mass_bins(p, num_bins, w), num_bins),
        in_tables=False,
        range=(0.0, 1.0),
        meaning=f"Mean distance between confidence and label over {num_bins} bins of equally many steps; 0 is best.",
        note=(
            f"{num_bins} bins of about equal numbers of steps. Equal confidences stay together, in the bin where "
            "the middle of their ranks falls; bins left empty by ties are not listed."
        ),
    )


ece = ece_over(NUM_BINS)
"""Expected calibration error over bins of equal width, in [0, 1].

Σ_b (W_b / W) |mean p in b − mean y in b|. Bins as in `equal_width_bins`: [0, 0.1), [0.1, 0.2), … [0.9, 1.0]; the last
owns 1.0. Source: Naeini, Cooper, Hauskrecht (AAAI 2015), with the mean label in place of the share of positives, so
that soft labels count as they are.

>>> round(ece([0.0, 0.3, 1.0, 1.0], [0.0, 0.5, 1.0, 0.0]), 3)
0.3
"""

ece_equal_mass = ece_equal_mass_over(NUM_BINS)
"""Expected calibration error over bins of about equal numbers of steps, in [0, 1].

The formula of `ece` over the bins of `equal_mass_bins`, where the treatment of ties is stated: the "adaptive binning"
of Nguyen and O'Connor (EMNLP 2015), but for ties.
"""


def _rms_columns(p: FloatArray, y: FloatArray, w: FloatArray) -> Columns:
    bins = equal_mass_bins(p, NUM_BINS, w)
    d = p - y
    mean = np.nan_to_num(ratio(bin_sums(bins, w * d, NUM_BINS), bin_sums(bins, w, NUM_BINS)))
    return {
        "gap": Column(d, bins, NUM_BINS),
        "mass": Column(np.ones(p.shape), bins, NUM_BINS),
        # From the bin's mean as seen, so that the squares below lose no digits.
        "off": Column(d - mean[bins], bins, NUM_BINS),
        "off_squared": OfProblem("off", "off"),
        "off_times_mass": OfProblem("off", "mass"),
        "mass_squared": OfProblem("mass", "mass"),
        "problems": OfProblem("mass", "mass", lambda first, second: (first > 0.0).astype(np.float64)),
    }


def _rms(sums: Totals) -> FloatArray:
    mass, problems = sums["mass"], sums["problems"]
    mean, off = (np.nan_to_num(ratio(sums[name], mass)) for name in ("gap", "off"))
    # Σ_g (what the problem's steps are off the bin's mean, added up)², g the problems drawn.
    squares = sums["off_squared"] - 2.0 * off * sums["off_times_mass"] + off**2 * sums["mass_squared"]
    known = problems > 1.0
    variance = np.nan_to_num(ratio(problems * squares, np.where(known, (problems - 1.0) * mass**2, 0.0)))
    squared = ratio(np.sum(known * mass * (mean**2 - variance), axis=-1), np.sum(known * mass, axis=-1))
    return np.asarray(np.sqrt(np.maximum(squared, 0.0)))


rms_calibration_error = Figure(
    "rms_calibration_error",
    "RMS calibration error",
    "lower",
    Sums(
        _rms_columns,
        _rms,
        inverted_over_bins(lambda sums: sums["gap"], lambda gaps, share: np.sqrt(mean_square(gaps, share))),
    ),
    in_tables=False,
    range=(0.0, 1.0),
    meaning="Root mean squared distance between confidence and label over bins, less what noise adds; 0 is best.",
    note=(
        "Root of the debiased squared calibration error over the bins of equal mass (Kumar, Liang, Ma 2019), the "
        "noise of each bin estimated over problems; 0 where the noise explains the gaps."
    ),
    undefined=lambda p, y: "no bin holds steps of two problems, so the noise of a bin is unknown",
)
"""Debiased root-mean-square calibration error over equal-mass bins.

√max(0, Σ_b (n_b / n) (d̄_b² − v_b)), v_b the variance of the bin's mean over problems, so that steps of one problem may
depend: G_b / (G_b − 1) Σ_g (Σ_{i in g, b} (d_i − d̄_b))² / n_b², G_b the problems with a step in the bin (the
cluster-robust form). Where each step is its own problem it is s_b² / n_b, and for binary labels and one confidence a
bin this is the debiased estimator of Kumar, Liang, Ma (NeurIPS 2019), equation of section 4. 0 means: no gap beyond
the noise. Bins of one problem have no variance and are left out.

>>> rms_calibration_error([0.5] * 4, [0, 0, 1, 1])
0.0
>>> rms_calibration_error([0.75] * 4, [0, 0, 0, 0])
0.75
"""


def rms_calibration_error_by_problem(confidence: npt.ArrayLike, label: npt.ArrayLike, problem: npt.ArrayLike) -> float:
    """`rms_calibration_error` with the steps of one problem taken together.

    >>> rms_calibration_error_by_problem([0.5, 0.5], [0.0, 1.0], [0, 1])
    0.0
    """
    return rms_calibration_error(confidence, label, problem=problem)

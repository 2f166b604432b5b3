"""Bins of confidences, and the reliability table over them.

Knows how a confidence finds its bin, and that every confidence in [0, 1] has exactly one. Labels are used as they
are, soft ones too: with soft labels calibration speaks of the mean label, not of P(right).

Legend: p confidence, y label, w weight, W = Σ w, N steps, B bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surestep.metrics.columns import FloatArray, IntArray, bin_sums, check_unit_interval, distinct_and_places

NUM_BINS = 10


def equal_width_bins(values: npt.ArrayLike, num_bins: int = NUM_BINS) -> IntArray:
    """The bin of each value: k where k/B <= value < (k+1)/B; the last bin also owns 1.0.

    The edge k/B is the float64 nearest to that fraction, which is what the literal 0.3 means too, so
    0.3 is in [0.3, 0.4) and the float64 just below it is in [0.2, 0.3). (`floor(10 * value)` puts
    0.8999999999999999 in the last bin, and `np.linspace` has 0.30000000000000004 for an edge, which puts
    0.3 one bin too low.) A float32 0.7 is 0.699999988 and is binned as that number.

    Args:
        values: shape (N,), in [0, 1].
        num_bins: B, at least 1.

    Raises:
        DataError: a value is outside [0, 1] or NaN; none falls silently in no bin.

    >>> equal_width_bins([0.0, 0.1, 0.3, 0.7, 0.9999, 1.0]).tolist()
    [0, 1, 3, 7, 9, 9]
    """
    v = np.asarray(values, dtype=np.float64)
    check_unit_interval("value", v)
    inner_edges = np.arange(1, num_bins) / num_bins
    bins: IntArray = np.searchsorted(inner_edges, v, side="right").astype(np.int64)
    return bins


def equal_mass_bins(
    confidence: npt.ArrayLike, num_bins: int = NUM_BINS, weights: npt.ArrayLike | None = None
) -> IntArray:
    """The bin of each confidence when all bins shall hold about N/B steps.

    Equal confidences are never parted: they go together to the bin in which the middle of their ranks
    falls, floor(B (mass below + half their mass) / W). So the result depends neither on the order of
    the rows nor on their labels, bins differ in size where there are ties, and some may stay empty: a
    constant confidence fills one bin only. Without ties sizes differ by at most 1.

    Args:
        confidence: shape (N,), in [0, 1].
        num_bins: B, at least 1.
        weights: shape (N,), above 0; a step of weight 2 counts as two equal steps.

    >>> equal_mass_bins([0.9, 0.1, 0.8, 0.2], 2).tolist()
    [1, 0, 1, 0]
    >>> equal_mass_bins([0.1, 0.5, 0.5, 0.5], 2).tolist()
    [0, 1, 1, 1]
    """
    p = np.asarray(confidence, dtype=np.float64)
    check_unit_interval("confidence", p)
    if p.size == 0:
        return np.empty(0, dtype=np.int64)
    w = None if weights is None else np.asarray(weights, dtype=np.float64)
    if w is not None and not (w == 1.0).all():
        _, group = distinct_and_places(p)
        return _bin_of_each(bin_sums(group, w), num_bins)[group]
    # Counts of equal confidences need no order of the steps, and bins only their least confidences.
    ordered = np.sort(p)
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    bin_of_group = _bin_of_each(np.diff(starts, append=p.size).astype(np.float64), num_bins)
    firsts = np.flatnonzero(np.diff(bin_of_group, prepend=-1))
    bins: IntArray = bin_of_group[firsts][np.searchsorted(ordered[starts[firsts[1:]]], p, side="right")]
    return bins


def _bin_of_each(mass: FloatArray, num_bins: int) -> IntArray:
    """The bin of each group of equal confidences, ascending, of which each has this mass."""
    below = np.cumsum(mass) - mass
    # Doubled, so that with whole weights both sides of the division are exact and floor cannot slip.
    bin_of_group = np.floor(num_bins * (2.0 * below + mass) / (2.0 * mass.sum()))
    bins: IntArray = np.minimum(bin_of_group, num_bins - 1).astype(np.int64)
    return bins


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """One row of a reliability table.

    `lower` and `upper` are the bin's edges for equal width, the least and greatest confidence in it for
    equal mass. The means are None exactly where `count` is 0.
    """

    lower: float
    upper: float
    count: int
    mean_confidence: float | None
    mean_label: float | None


def reliability_equal_width(
    confidence: npt.ArrayLike, label: npt.ArrayLike, *, num_bins: int = NUM_BINS
) -> list[ReliabilityBin]:
    """All B bins of `ece` in order, the empty ones with count 0.

    >>> reliability_equal_width([0.25, 0.75, 0.75], [0.0, 1.0, 0.5], num_bins=2)[1]
    ReliabilityBin(lower=0.5, upper=1.0, count=2, mean_confidence=0.75, mean_label=0.75)
    """
    p = np.asarray(confidence, dtype=np.float64)
    y = np.asarray(label, dtype=np.float64)
    bins = equal_width_bins(p, num_bins)
    edges = [(k / num_bins, (k + 1) / num_bins) for k in range(num_bins)]
    return _table(bins, p, y, edges)


def reliability_equal_mass(
    confidence: npt.ArrayLike, label: npt.ArrayLike, *, num_bins: int = NUM_BINS
) -> list[ReliabilityBin]:
    """The bins of `ece_equal_mass` that hold a step, in order.

    >>> [(b.lower, b.upper, b.count) for b in reliability_equal_mass([0.9, 0.1, 0.4], [1, 0, 1], num_bins=3)]
    [(0.1, 0.1, 1), (0.4, 0.4, 1), (0.9, 0.9, 1)]
    """
    p = np.asarray(confidence, dtype=np.float64)
    y = np.asarray(label, dtype=np.float64)
    # Numbered anew without the empty bins.
    _, bins = distinct_and_places(equal_mass_bins(p, num_bins))
    num_used = int(bins.max()) + 1 if bins.size else 0
    lower = np.full(num_used, np.inf)
    upper = np.full(num_used, -np.inf)
    np.minimum.at(lower, bins, p)
    np.maximum.at(upper, bins, p)
    return _table(bins, p, y, list(zip(lower.tolist(), upper.tolist(), strict=True)))


def _table(bins: IntArray, p: FloatArray, y: FloatArray, edges: list[tuple[float, float]]) -> list[ReliabilityBin]:
    counts = bin_sums(bins, num_bins=len(edges))
    sums_p = bin_sums(bins, p, len(edges))
    sums_y = bin_sums(bins, y, len(edges))
    return [
        ReliabilityBin(
            lower=lower,
            upper=upper,
            count=int(counts[k]),
            mean_confidence=float(sums_p[k] / counts[k]) if counts[k] else None,
            mean_label=float(sums_y[k] / counts[k]) if counts[k] else None,
        )
        for k, (lower, upper) in enumerate(edges)
    ]

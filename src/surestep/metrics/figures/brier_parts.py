"""The Brier score taken apart: how far off its bins are, how much they tell, and how uncertain the labels are.

Brier = reliability − resolution + uncertainty + within-bin remainder, over the ten bins of equal width. Labels count
as 0 or 1 (label ≥ 0.5), as in `brier`. Reliability and resolution are plug-in values, biased upward on few steps.

Legend: p confidence, o binary label, w_b share of the steps in bin b.
"""

from __future__ import annotations

import numpy as np

from surestep.metrics.columns import POSITIVE_LABEL, FloatArray
from surestep.metrics.figures.binned import inverted_over_bins, mean_square
from surestep.metrics.figures.bins import NUM_BINS, equal_width_bins
from surestep.metrics.figures.figure import Column, Columns, Figure, Sums, Totals, ratio


def _columns(p: FloatArray, y: FloatArray, w: FloatArray) -> Columns:
    bins = equal_width_bins(p)
    positive = (y >= POSITIVE_LABEL).astype(np.float64)
    return {
        "mass": Column(np.ones(p.shape), bins, NUM_BINS),
        "confidence": Column(p, bins, NUM_BINS),
        "positive": Column(positive, bins, NUM_BINS),
        "squared_error": Column((p - positive) ** 2),
    }


def _base(sums: Totals) -> FloatArray:
    """Mean of the binary labels."""
    return ratio(sums["positive"].sum(axis=-1), sums["mass"].sum(axis=-1))


def _off(sums: Totals) -> FloatArray:
    """Σ (p − o) in each bin."""
    return sums["confidence"] - sums["positive"]


def _told(sums: Totals) -> FloatArray:
    """Σ (o − mean o) in each bin."""
    return sums["positive"] - _base(sums)[..., None] * sums["mass"]


def _squared(gap: FloatArray, mass: FloatArray) -> FloatArray:
    """Σ_b w_b (mean gap in b)²."""
    return ratio(np.nan_to_num(ratio(gap**2, mass)).sum(axis=-1), mass.sum(axis=-1))


def _reliability(sums: Totals) -> FloatArray:
    return _squared(_off(sums), sums["mass"])


def _resolution(sums: Totals) -> FloatArray:
    return _squared(_told(sums), sums["mass"])


def _uncertainty(sums: Totals) -> FloatArray:
    base = _base(sums)
    return base * (1.0 - base)


def _within_bin(sums: Totals) -> FloatArray:
    brier = ratio(sums["squared_error"], sums["mass"].sum(axis=-1))
    return brier - (_reliability(sums) - _resolution(sums) + _uncertainty(sums))


brier_reliability = Figure(
    "brier_reliability",
    "Brier reliability",
    "lower",
    Sums(_columns, _reliability, inverted_over_bins(_off, mean_square)),
    in_tables=False,
    range=(0.0, 1.0),
    meaning="The part of the Brier score that comes from miscalibrated bins; 0 is best.",
)
"""Σ_b w_b (mean p in b − mean o in b)², at least 0. Source: Murphy (1973).

>>> brier_reliability([0.25, 0.25, 0.75, 0.75], [0, 0, 1, 1])
0.0625
"""

brier_resolution = Figure(
    "brier_resolution",
    "Brier resolution",
    "higher",
    Sums(_columns, _resolution, inverted_over_bins(_told, mean_square)),
    in_tables=False,
    range=(0.0, 0.25),
    meaning="How much the bins differ in their share of right steps; at most the uncertainty of the labels.",
)
"""Σ_b w_b (mean o in b − mean o)², from 0 to the uncertainty. Source: Murphy (1973).

>>> brier_resolution([0.25, 0.25, 0.75, 0.75], [0, 0, 1, 1])
0.25
"""

brier_uncertainty = Figure(
    "brier_uncertainty",
    "Brier uncertainty",
    "none",
    Sums(_columns, _uncertainty),
    in_tables=False,
    range=(0.0, 0.25),
    meaning="The variance of right and wrong labels; the same for every scorer.",
)
"""mean o (1 − mean o), in [0, 0.25]: a property of the labels alone. Source: Murphy (1973).

>>> brier_uncertainty([0.9, 0.9], [0, 1])
0.25
"""

brier_within_bin = Figure(
    "brier_within_bin",
    "Brier remainder within bins",
    "none",
    Sums(_columns, _within_bin),
    in_tables=False,
    range=(-1.0, 1.0),
    meaning="What the other three parts leave of the Brier score; below 0 where confidences order steps within a bin.",
)
"""What the other three leave of the Brier score: Σ_b w_b (var of p in b − 2 cov of p and o in b).

Murphy's identity is exact where all confidences of a bin are equal, and then this is 0; negative where confidences
order the steps within a bin. Source: Stephenson, Coelho, Jolliffe (Weather and Forecasting 2008).

>>> brier_within_bin([0.25, 0.25], [0, 1])
0.0
"""

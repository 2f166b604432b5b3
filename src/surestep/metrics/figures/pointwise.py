"""Figures that compare each confidence with its own label: MSE, MAE, R², NLL, Brier, accuracy, bias.

Soft labels: MSE, MAE, R² and NLL use the label as it is; Brier turns it into 0 or 1 at 0.5; accuracy leaves labels of
exactly 0.5 out. Every figure is called as `mse(confidence, label, weights)`; see `Figure`.

Legend: p confidence, y label, w weight; sums run over steps, W = Σ w.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surestep.counted import counted
from surestep.metrics.columns import (
    POSITIVE_LABEL,
    FloatArray,
    UndefinedFigureError,
    bin_sums,
    check_columns,
    weighted_mean,
)
from surestep.metrics.figures.bins import equal_width_bins
from surestep.metrics.figures.figure import Column, Columns, Figure, Sums, Totals, mean_of, ratio

NLL_CLIP = 1e-7
"""NLL takes confidences as no closer than this to 0 and 1: a sure mistake costs 16.1 nats, not ∞."""

NUM_LABEL_RANGES = 5
_ROUNDING = 1e-13
"""A variance that is this share of the mean square it was made from is the rounding of equal labels."""


def step_nll(confidence: FloatArray, label: FloatArray) -> FloatArray:
    """The cross-entropy of each step in nats, −y ln p − (1 − y) ln(1 − p), p clipped to [1e-7, 1 − 1e-7].

    >>> step_nll(np.array([0.5]), np.array([0.25])).round(6)
    array([0.693147])
    """
    p = np.clip(confidence, NLL_CLIP, 1.0 - NLL_CLIP)
    losses: FloatArray = -(label * np.log(p) + (1.0 - label) * np.log1p(-p))
    return losses


def _is_right(label: FloatArray) -> FloatArray:
    return (label >= POSITIVE_LABEL).astype(np.float64)


def _r2_columns(p: FloatArray, y: FloatArray, w: FloatArray) -> Columns:
    # Centred, so that the difference of squares in a draw loses no digits; equal labels are compared exactly, since
    # their mean can differ from them in the last digit.
    centred = np.zeros(y.shape) if y.min() == y.max() else y - weighted_mean(y, w)
    return {
        "squared_error": Column((p - y) ** 2),
        "label": Column(centred),
        "label_squared": Column(centred**2),
        "steps": Column(np.ones(p.shape)),
    }


def _r2(sums: Totals) -> FloatArray:
    square = ratio(sums["label_squared"], sums["steps"])
    variance = square - ratio(sums["label"], sums["steps"]) ** 2
    explained = ratio(
        ratio(sums["squared_error"], sums["steps"]), np.where(variance > _ROUNDING * square, variance, 0.0)
    )
    return np.asarray(1.0 - explained)


mse = Figure(
    "mse",
    "MSE",
    "lower",
    mean_of(lambda p, y: (p - y) ** 2),
    range=(0.0, 1.0),
    meaning="Mean squared distance to the label; 0 is best.",
)
"""Mean squared error, Σ w (p − y)² / W.

>>> mse([0.5, 1.0], [0.0, 1.0])
0.125
"""

mae = Figure(
    "mae",
    "MAE",
    "lower",
    mean_of(lambda p, y: np.abs(p - y)),
    range=(0.0, 1.0),
    meaning="Mean distance to the label; 0 is best.",
)
"""Mean absolute error, Σ w |p − y| / W.

The best constant for it is the median, not the mean: on noisy labels it rewards confidences pushed to 0 and 1, so it is
no proper score.

>>> mae([0.5, 1.0], [0.0, 1.0])
0.25
"""

r2 = Figure(
    "r2",
    "R²",
    "higher",
    Sums(_r2_columns, _r2),
    range=(-np.inf, 1.0),
    meaning="Share of the labels' variance explained; 1 is best, 0 is their own mean.",
    undefined=lambda p, y: (
        f"all {counted(y.size, 'label equals', 'labels equal')} {y[0]:g}, so there is no variance to explain"
    ),
)
"""Share of the labels' variance explained, 1 − Σ w (p − y)² / Σ w (y − ȳ)².

ȳ is the mean of these labels; always predicting ȳ gives 0, worse gives a negative number.

>>> r2([0.25, 0.75], [0.0, 1.0])
0.75
"""

nll = Figure(
    "nll",
    "NLL",
    "lower",
    mean_of(step_nll),
    range=(0.0, np.inf),
    meaning="Negative log-likelihood of the labels, in nats; 0 is best.",
    note=f"In nats; confidences are clipped to [{NLL_CLIP:g}, 1 - {NLL_CLIP:g}].",
)
"""Cross-entropy in nats, −Σ w (y ln p + (1 − y) ln(1 − p)) / W.

With soft labels the least reachable value is the labels' own mean entropy, not 0.

>>> round(nll([0.5, 0.5], [0.0, 0.5]), 6)
0.693147
"""

brier = Figure(
    "brier",
    "Brier score",
    "lower",
    mean_of(lambda p, y: (p - _is_right(y)) ** 2),
    in_tables=False,
    range=(0.0, 1.0),
    meaning="Mean squared distance to the label rounded to 0 or 1; 0 is best.",
)
"""Brier score with the binary label, Σ w (p − [y ≥ 0.5])² / W. Source: Brier (1950), in its form for two classes.

Equals `mse` where every label is 0 or 1.

>>> brier([0.5, 1.0], [0.0, 0.5])
0.125
"""

accuracy = Figure(
    "accuracy",
    "Accuracy",
    "higher",
    mean_of(lambda p, y: (p >= POSITIVE_LABEL) == (y > POSITIVE_LABEL), where=lambda p, y: y != POSITIVE_LABEL),
    range=(0.0, 1.0),
    meaning="Share of steps rightly called right or wrong at a confidence of 0.5.",
    undefined=lambda p, y: f"all {counted(y.size, 'label is', 'labels are')} exactly 0.5, which accuracy leaves out",
)
"""Share of steps where [p ≥ 0.5] equals [y > 0.5], among those with y ≠ 0.5.

>>> accuracy([0.5, 0.4, 0.9], [1.0, 1.0, 0.5])
0.5
"""

calibration_in_the_large = Figure(
    "calibration_in_the_large",
    "Bias",
    "none",
    mean_of(lambda p, y: p - y),
    in_tables=False,
    range=(-1.0, 1.0),
    meaning="Mean confidence minus mean label; above 0 is overconfident on the whole.",
)
"""Mean confidence less mean label.

>>> calibration_in_the_large([0.5, 1.0], [0.0, 1.0])
0.25
"""

mean_confidence = Figure("mean_confidence", "Mean confidence", "none", mean_of(lambda p, y: p), range=(0.0, 1.0))
mean_label = Figure("mean_label", "Mean label", "none", mean_of(lambda p, y: y), range=(0.0, 1.0))


@dataclass(frozen=True, slots=True)
class LabelRangeError:
    """Mean absolute error among the steps whose label lies in [lower, upper), or up to 1.0 inclusive.

    `mae` is None exactly where `count` is 0.
    """

    lower: float
    upper: float
    count: int
    mae: float | None


def mae_by_label_range(confidence: npt.ArrayLike, label: npt.ArrayLike) -> list[LabelRangeError]:
    """MAE in five ranges of the label, [0, 0.2), [0.2, 0.4), … [0.8, 1.0].

    Five keep the labels in use apart: 0, 0.25, 0.5, 0.75 and 1 fall in one each. Edges are owned as in
    `equal_width_bins`. Ranges without a step are listed with count 0.

    >>> [(r.count, r.mae) for r in mae_by_label_range([0.5, 0.5], [0.0, 1.0])]
    [(1, 0.5), (0, None), (0, None), (0, None), (1, 0.5)]
    """
    try:
        p, y, _ = check_columns(confidence, label)
    except UndefinedFigureError:
        p = y = np.empty(0)
    bins = equal_width_bins(y, NUM_LABEL_RANGES)
    counts = bin_sums(bins, num_bins=NUM_LABEL_RANGES)
    sums = bin_sums(bins, np.abs(p - y), NUM_LABEL_RANGES)
    return [
        LabelRangeError(
            lower=k / NUM_LABEL_RANGES,
            upper=(k + 1) / NUM_LABEL_RANGES,
            count=int(counts[k]),
            mae=float(sums[k] / counts[k]) if counts[k] else None,
        )
        for k in range(NUM_LABEL_RANGES)
    ]

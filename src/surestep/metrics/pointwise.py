"""Figures that compare each confidence with its own label: MSE, MAE, R², NLL, Brier, accuracy.

Soft labels: MSE, MAE, R² and NLL use the label as it is; Brier turns it into 0 or 1 at 0.5; accuracy
leaves labels of exactly 0.5 out. All take weights as `columns` describes, and all raise `DataError`
for values outside [0, 1] and `UndefinedFigureError` where there is no step to measure.

Legend: p confidence, y label, w weight; sums run over steps, W = Σ w.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surestep.metrics.calibration_error import equal_width_bins
from surestep.metrics.columns import POSITIVE_LABEL, FloatArray, UndefinedFigureError, check_columns, weighted_mean

NLL_CLIP = 1e-7
"""NLL takes confidences as no closer than this to 0 and 1: a sure mistake costs 16.1 nats, not ∞."""

NUM_LABEL_RANGES = 5


def step_nll(confidence: FloatArray, label: FloatArray) -> FloatArray:
    """The cross-entropy of each step in nats, −y ln p − (1 − y) ln(1 − p), p clipped to [1e-7, 1 − 1e-7].

    >>> step_nll(np.array([0.5]), np.array([0.25])).round(6)
    array([0.693147])
    """
    p = np.clip(confidence, NLL_CLIP, 1.0 - NLL_CLIP)
    losses: FloatArray = -(label * np.log(p) + (1.0 - label) * np.log1p(-p))
    return losses


def mse(confidence: npt.ArrayLike, label: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Mean squared error, Σ w (p − y)² / W, in [0, 1]; 0 is best.

    >>> mse([0.5, 1.0], [0.0, 1.0])
    0.125
    """
    p, y, w = check_columns(confidence, label, weights)
    return weighted_mean((p - y) ** 2, w)


def mae(confidence: npt.ArrayLike, label: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Mean absolute error, Σ w |p − y| / W, in [0, 1]; 0 is best.

    The best constant for it is the median, not the mean: on noisy labels it rewards confidences pushed
    to 0 and 1, so it is no proper score.

    >>> mae([0.5, 1.0], [0.0, 1.0])
    0.25
    """
    p, y, w = check_columns(confidence, label, weights)
    return weighted_mean(np.abs(p - y), w)


def r2(confidence: npt.ArrayLike, label: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Share of the labels' variance explained, 1 − Σ w (p − y)² / Σ w (y − ȳ)²; 1 is best.

    ȳ is the mean of these labels; always predicting ȳ gives 0, worse gives a negative number.

    Raises:
        UndefinedFigureError: all labels are equal, so there is no variance to explain.

    >>> r2([0.25, 0.75], [0.0, 1.0])
    0.75
    """
    p, y, w = check_columns(confidence, label, weights)
    # Compared exactly: the mean of equal labels can differ from them in the last digit.
    if y.min() == y.max():
        raise UndefinedFigureError(f"all {y.size} labels equal {y[0]:g}, so there is no variance to explain")
    variance = weighted_mean((y - weighted_mean(y, w)) ** 2, w)
    return 1.0 - weighted_mean((p - y) ** 2, w) / variance


def nll(confidence: npt.ArrayLike, label: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Cross-entropy in nats, −Σ w (y ln p + (1 − y) ln(1 − p)) / W; lower is better.

    p is clipped to [1e-7, 1 − 1e-7]. With soft labels the least reachable value is the labels' own mean
    entropy, not 0.

    >>> round(nll([0.5, 0.5], [0.0, 0.5]), 6)
    0.693147
    """
    p, y, w = check_columns(confidence, label, weights)
    return weighted_mean(step_nll(p, y), w)


def brier(confidence: npt.ArrayLike, label: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Brier score with the binary label, Σ w (p − [y ≥ 0.5])² / W, in [0, 1]; 0 is best.

    Equals `mse` where every label is 0 or 1. Source: Brier (1950), in its form for two classes.

    >>> brier([0.5, 1.0], [0.0, 0.5])
    0.125
    """
    p, y, w = check_columns(confidence, label, weights)
    return weighted_mean((p - (y >= POSITIVE_LABEL)) ** 2, w)


def accuracy(confidence: npt.ArrayLike, label: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Share of steps where [p ≥ 0.5] equals [y > 0.5], among those with y ≠ 0.5.

    Raises:
        UndefinedFigureError: every label is exactly 0.5.

    >>> accuracy([0.5, 0.4, 0.9], [1.0, 1.0, 0.5])
    0.5
    """
    p, y, w = check_columns(confidence, label, weights)
    decided = y != POSITIVE_LABEL
    if not decided.any():
        raise UndefinedFigureError(f"all {y.size} labels are exactly 0.5, which accuracy leaves out")
    p, y, w = p[decided], y[decided], w[decided]
    return weighted_mean(((p >= POSITIVE_LABEL) == (y > POSITIVE_LABEL)).astype(np.float64), w)


def calibration_in_the_large(
    confidence: npt.ArrayLike, label: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> float:
    """Mean confidence less mean label, in [-1, 1]; above 0 is overconfident on the whole, 0 is best.

    >>> calibration_in_the_large([0.5, 1.0], [0.0, 1.0])
    0.25
    """
    p, y, w = check_columns(confidence, label, weights)
    return weighted_mean(p - y, w)


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
    counts = np.bincount(bins, minlength=NUM_LABEL_RANGES)
    sums = np.bincount(bins, np.abs(p - y), minlength=NUM_LABEL_RANGES)
    return [
        LabelRangeError(
            lower=k / NUM_LABEL_RANGES,
            upper=(k + 1) / NUM_LABEL_RANGES,
            count=int(counts[k]),
            mae=float(sums[k] / counts[k]) if counts[k] else None,
        )
        for k in range(NUM_LABEL_RANGES)
    ]

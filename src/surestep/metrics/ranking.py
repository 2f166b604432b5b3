"""Figures that ask only for the order of the confidences: AUROC and average precision.

A label of at least 0.5 counts as positive, "the step is right"; the `_without_half` variants leave
labels of exactly 0.5 out. Equal confidences share one threshold, so the order of rows never matters.
Rows already sorted by confidence cost no sort: a bootstrap sorts once and changes the weights only.

Legend: G distinct confidences.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from surestep.metrics.columns import (
    POSITIVE_LABEL,
    Columns,
    FloatArray,
    UndefinedFigureError,
    check_columns,
)


def auroc(confidence: npt.ArrayLike, label: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Probability that a right step has a higher confidence than a wrong one, ties counting half.

    The area under the ROC curve, by the Mann–Whitney U statistic; 0.5 is chance, 1 is best. Source:
    Hanley and McNeil (Radiology 1982).

    Raises:
        UndefinedFigureError: the labels are of one class only.

    >>> auroc([0.1, 0.4, 0.4, 0.9], [0, 0, 1, 1])
    0.875
    """
    right, wrong = _mass_by_confidence(check_columns(confidence, label, weights))
    wrong_below = np.cumsum(wrong) - wrong
    return float(np.sum(right * (wrong_below + 0.5 * wrong)) / (right.sum() * wrong.sum()))


def average_precision(confidence: npt.ArrayLike, label: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Average precision of finding the right steps from the highest confidence down; 1 is best.

    Σ_t (R_t − R_{t−1}) P_t over the distinct confidences as thresholds, without interpolation
    (scikit-learn's definition). Chance is the share of right steps.

    Raises:
        UndefinedFigureError: the labels are of one class only; with right steps alone it would be 1
            whatever the confidences.

    >>> average_precision([0.9, 0.8, 0.1], [1, 0, 1])
    0.8333333333333333
    """
    right, wrong = _mass_by_confidence(check_columns(confidence, label, weights))
    return _average_precision(right[::-1], wrong[::-1])


def average_precision_error(
    confidence: npt.ArrayLike, label: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> float:
    """Average precision of finding the wrong steps (label < 0.5) from the lowest confidence up.

    The figure to read where errors are rare. Chance is the share of wrong steps.

    Raises:
        UndefinedFigureError: the labels are of one class only.

    >>> average_precision_error([0.9, 0.8, 0.1], [1, 0, 1])
    0.5
    """
    # Read upward instead of ranking by 1 − p, which would tie tiny confidences that differ.
    right, wrong = _mass_by_confidence(check_columns(confidence, label, weights))
    return _average_precision(wrong, right)


def auroc_without_half(confidence: npt.ArrayLike, label: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """`auroc` among the steps whose label is not exactly 0.5.

    >>> auroc_without_half([0.1, 0.2, 0.9], [0, 0.5, 1])
    1.0
    """
    return auroc(*_without_half(check_columns(confidence, label, weights)))


def average_precision_without_half(
    confidence: npt.ArrayLike, label: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> float:
    """`average_precision` among the steps whose label is not exactly 0.5.

    >>> average_precision_without_half([0.1, 0.2, 0.9], [0, 0.5, 1])
    1.0
    """
    return average_precision(*_without_half(check_columns(confidence, label, weights)))


def average_precision_error_without_half(
    confidence: npt.ArrayLike, label: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> float:
    """`average_precision_error` among the steps whose label is not exactly 0.5.

    >>> average_precision_error_without_half([0.2, 0.1, 0.9], [0, 0.5, 1])
    1.0
    """
    return average_precision_error(*_without_half(check_columns(confidence, label, weights)))


def _without_half(columns: Columns) -> Columns:
    keep = columns.label != POSITIVE_LABEL
    return Columns(columns.confidence[keep], columns.label[keep], columns.weights[keep])


def _mass_by_confidence(columns: Columns) -> tuple[FloatArray, FloatArray]:
    """Weight of right and of wrong steps at each distinct confidence, ascending; each (G,)."""
    p, y, w = columns
    positive = y >= POSITIVE_LABEL
    if positive.all() or not positive.any():
        kind = "right (label >= 0.5)" if positive[0] else "wrong (label < 0.5)"
        raise UndefinedFigureError(f"only one class: all {y.size} steps count as {kind}")
    order = np.argsort(p, kind="stable")
    p_sorted = p[order]
    starts = np.flatnonzero(np.concatenate(([True], p_sorted[1:] != p_sorted[:-1])))
    right = np.add.reduceat(np.where(positive, w, 0.0)[order], starts)
    wrong = np.add.reduceat(np.where(positive, 0.0, w)[order], starts)
    return right, wrong


def _average_precision(target: FloatArray, other: FloatArray) -> float:
    """Both (G,), the most suspect threshold first: weight of what is sought, and of the rest."""
    found = np.cumsum(target)
    precision = found / (found + np.cumsum(other))
    return float(np.sum(target * precision) / found[-1])

"""Finding every wrong step: F1 of the right steps, F1 of the wrong ones, and their mean, the PRM score.

A step is called wrong where its confidence is below the threshold. F1 takes the right steps as what is to be found,
negative F1 the wrong ones; the PRM score is half of each (PRMBench, arXiv 2501.03124, section 4; a category without
wrong steps by design scores its F1 alone). F1 is written as 2 TP / (2 TP + FP + FN): 0 where nothing was found.

Knows counts; knows no file and no text.

Shapes: `S` steps, `R` resamples.
"""

from __future__ import annotations

import numpy as np

from surestep.metrics.columns import BoolArray, FloatArray

FIGURES = ("prm_score", "f1", "negative_f1", "accuracy_right_steps", "accuracy_wrong_steps")

NUM_COUNTS = 4
"""What every figure is made of: right steps called right and called wrong, wrong steps called wrong and right."""


def step_counts(is_right: BoolArray, called_right: BoolArray) -> FloatArray:
    """Indicators whose sums are the counts: [S, 4].

    >>> step_counts(np.array([True, False]), np.array([True, True])).sum(axis=0).tolist()
    [1.0, 0.0, 0.0, 1.0]
    """
    columns = (is_right & called_right, is_right & ~called_right, ~is_right & ~called_right, ~is_right & called_right)
    return np.stack(columns, axis=1).astype(np.float64)


def step_figures(counts: FloatArray, *, has_wrong_steps: bool = True) -> dict[str, FloatArray]:
    """Each of `FIGURES` for each row of `counts` [R, 4]; NaN where a kind of step is not there.

    Args:
        counts: sums of `step_counts`.
        has_wrong_steps: false for a category that has none by design; its PRM score is its F1.

    >>> round(float(step_figures(np.array([[8.0, 2.0, 1.0, 1.0]]))["negative_f1"][0]), 3)
    0.4
    """
    right_kept, right_lost, wrong_found, wrong_missed = counts.T
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = 2 * right_kept / (2 * right_kept + wrong_missed + right_lost)
        negative_f1 = 2 * wrong_found / (2 * wrong_found + right_lost + wrong_missed)
        right = right_kept / (right_kept + right_lost)
        wrong = wrong_found / (wrong_found + wrong_missed)
    return {
        "prm_score": (f1 + negative_f1) / 2 if has_wrong_steps else f1,
        "f1": np.where(np.isnan(right), np.nan, f1),
        "negative_f1": np.where(np.isnan(wrong), np.nan, negative_f1),
        "accuracy_right_steps": right,
        "accuracy_wrong_steps": wrong,
    }

"""Finding every wrong step: F1 of the right steps, F1 of the wrong ones, and their mean, the PRM score.

A step is called right where its confidence is above the threshold, else wrong. F1 takes the right steps as what is to
be found, negative F1 the wrong ones; the PRM score is half of each (PRMBench, arXiv 2501.03124, section 4; a category
without wrong steps by design scores its F1 alone). F1 is written as 2 TP / (2 TP + FP + FN): 0 where nothing was found.

The other figures are those of the benchmark's own program (`evaluate_function` of its task `prmtest_classified`), where
`accuracy_right_steps` is called `correct_step_acc` and `recall`, `accuracy_wrong_steps` `wrong_step_acc` and
`negative_recall`.

Knows counts; knows no file and no text.

Shapes: `S` steps, `R` resamples, `M` solutions.
"""

from __future__ import annotations

import numpy as np

from surestep.metrics.columns import BoolArray, FloatArray

FIGURES = (
    "prm_score",
    "f1",
    "negative_f1",
    "accuracy_right_steps",
    "accuracy_wrong_steps",
    "total_step_acc",
    "precision",
    "negative_precision",
)
"""Made of steps."""

SOLUTION_FIGURES = ("first_error_acc", "similarity")
"""Made of whole solutions."""

NUM_COUNTS = 4
"""What figures of steps are made of: right steps called right and called wrong, wrong steps called wrong and right."""

NUM_SOLUTION_SUMS = 4
"""What figures of solutions are made of: first wrong steps called wrong, and how many first wrong steps there are; the
distances to the solutions before the change, and how many distances there are."""


def step_counts(is_right: BoolArray, called_right: BoolArray) -> FloatArray:
    """Indicators whose sums are the counts: [S, 4].

    >>> step_counts(np.array([True, False]), np.array([True, True])).sum(axis=0).tolist()
    [1.0, 0.0, 0.0, 1.0]
    """
    columns = (is_right & called_right, is_right & ~called_right, ~is_right & ~called_right, ~is_right & called_right)
    return np.stack(columns, axis=1).astype(np.float64)


def solution_sums(called_right: BoolArray, first_error: int | None, share_before: float | None) -> FloatArray:
    """What one solution adds to the sums of `SOLUTION_FIGURES`: [4].

    Args:
        called_right: [S], the verdict on each of its steps.
        first_error: index of its first wrong step; None where it has none.
        share_before: share of steps called right in the solution before the change; None where there is none. One of 0
            is not compared, as in the benchmark's own program.

    >>> solution_sums(np.array([True, False]), 1, 1.0).tolist()
    [1.0, 1.0, 0.5, 1.0]
    """
    sums = np.zeros(NUM_SOLUTION_SUMS)
    if first_error is not None:
        sums[:2] = float(not called_right[first_error]), 1.0
    if share_before and len(called_right):
        sums[2:] = abs(float(called_right.mean()) - share_before), 1.0
    return sums


def step_figures(counts: FloatArray, *, has_wrong_steps: bool = True) -> dict[str, FloatArray]:
    """Each of `FIGURES` for each row of `counts` [R, 4]; NaN where a kind of step is not there.

    `precision` is NaN where no step is called right, `negative_precision` where none is called wrong.

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
        total = (right_kept + wrong_found) / counts.sum(axis=1)
        precision = right_kept / (right_kept + wrong_missed)
        negative_precision = wrong_found / (wrong_found + right_lost)
    return {
        "prm_score": (f1 + negative_f1) / 2 if has_wrong_steps else f1,
        "f1": np.where(np.isnan(right), np.nan, f1),
        "negative_f1": np.where(np.isnan(wrong), np.nan, negative_f1),
        "accuracy_right_steps": right,
        "accuracy_wrong_steps": wrong,
        "total_step_acc": total,
        "precision": precision,
        "negative_precision": negative_precision,
    }


def solution_figures(sums: FloatArray) -> dict[str, FloatArray]:
    """Each of `SOLUTION_FIGURES` for each row of `sums` [R, 4]; NaN where no solution has one.

    `first_error_acc` is the share of first wrong steps that are called wrong. `similarity` is, as its authors call it,
    the mean distance between the share of steps called right in a changed solution and in the one before the change:
    0 where the scorer does not see the change.

    >>> solution_figures(np.array([[1.0, 2.0, 0.0, 0.0]]))["first_error_acc"].tolist()
    [0.5]
    """
    with np.errstate(invalid="ignore"):
        return {"first_error_acc": sums[:, 0] / sums[:, 1], "similarity": sums[:, 2] / sums[:, 3]}

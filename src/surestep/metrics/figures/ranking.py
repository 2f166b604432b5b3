"""Figures that ask only for the order of the confidences: AUROC, average precision, Spearman's correlation.

A label of at least 0.5 counts as positive, "the step is right"; the `_without_half` variants leave labels of exactly
0.5 out; Spearman's takes soft labels as they are. Equal confidences share one threshold or the middle of their ranks,
so the order of rows never matters.

Legend: D distinct confidences, U distinct labels, R weightings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from surestep.counted import counted
from surestep.metrics.columns import POSITIVE_LABEL, FloatArray
from surestep.metrics.figures.figure import Figure, Ranks, ratio
from surestep.metrics.figures.rank_sums import Classes, RankSums

_ERRORS_NOTE = "Finds the wrong steps (label < 0.5) from the lowest confidence up."


def _area(classes: Classes) -> FloatArray:
    wrong_below = classes.wrong_until - 0.5 * classes.wrong
    return ratio(np.sum(classes.right * wrong_below, axis=1), classes.all_right * classes.all_wrong)


def _precision(classes: Classes) -> FloatArray:
    # From the highest confidence down: what lies at or above it.
    hits = classes.all_right[:, None] - classes.right_until + classes.right
    others = classes.all_wrong[:, None] - classes.wrong_until + classes.wrong
    return _of_both_classes(_sum_of_precisions(classes.right, hits, hits + others), classes, classes.all_right)


def _precision_of_errors(classes: Classes) -> FloatArray:
    # Read upward instead of ranking by 1 − p, which would tie tiny confidences that differ.
    found = classes.wrong_until
    total = _sum_of_precisions(classes.wrong, found, classes.right_until + found)
    return _of_both_classes(total, classes, classes.all_wrong)


def _of_both_classes(total: FloatArray, classes: Classes, sought: FloatArray) -> FloatArray:
    """`total` / `sought`, NaN where there is one class only: with right steps alone precision would always be 1."""
    return ratio(total, np.where((classes.all_right > 0.0) & (classes.all_wrong > 0.0), sought, 0.0))


def _sum_of_precisions(sought: FloatArray, hits: FloatArray, taken: FloatArray) -> FloatArray:
    """Σ sought hits / taken; confidences that nothing was drawn from have neither."""
    precision = np.divide(hits, taken, out=np.zeros_like(hits), where=taken > 0.0)
    return np.asarray(np.sum(sought * precision, axis=1))


def _one_class(p: FloatArray, y: FloatArray) -> str:
    if not y.size:
        return "there are no labelled steps"
    kind = "right (label >= 0.5)" if y[0] >= POSITIVE_LABEL else "wrong (label < 0.5)"
    return f"only one class: all {counted(y.size, 'step')} count as {kind}"


def _one_class_without_half(p: FloatArray, y: FloatArray) -> str:
    return _one_class(p[y != POSITIVE_LABEL], y[y != POSITIVE_LABEL])


def _all(value: Callable[[Classes], FloatArray]) -> Ranks:
    return Ranks(lambda sums: value(sums.all_steps))


def _without_half(figure: Figure, value: Callable[[Classes], FloatArray]) -> Figure:
    """`figure`, which is the same `value` of all steps, among the steps whose label is not exactly 0.5."""
    return replace(
        figure,
        name=f"{figure.name}_without_half",
        title=f"{figure.title} without ½",
        kind=Ranks(lambda sums: value(sums.without_half)),
        in_tables=False,
        meaning=f"{figure.title} among the steps whose label is not exactly 0.5.",
        note="",
        undefined=_one_class_without_half,
    )


auroc = Figure(
    "auroc",
    "AUROC",
    "higher",
    _all(_area),
    range=(0.0, 1.0),
    meaning="How often a right step gets more confidence than a wrong one; 0.5 is chance.",
    reads="raw_confidence",
    undefined=_one_class,
)
"""Probability that a right step has a higher confidence than a wrong one, ties counting half.

The area under the ROC curve, by the Mann–Whitney U statistic; 0.5 is chance, 1 is best. Source: Hanley and McNeil
(Radiology 1982).

>>> auroc([0.1, 0.4, 0.4, 0.9], [0, 0, 1, 1])
0.875
"""

auroc_without_half = _without_half(auroc, _area)
"""`auroc` among the steps whose label is not exactly 0.5.

>>> auroc_without_half([0.1, 0.2, 0.9], [0, 0.5, 1])
1.0
"""

average_precision = Figure(
    "average_precision",
    "Average precision",
    "higher",
    _all(_precision),
    in_tables=False,
    range=(0.0, 1.0),
    meaning="Precision of finding the right steps from the highest confidence down; chance is their share.",
    reads="raw_confidence",
    undefined=_one_class,
)
"""Average precision of finding the right steps from the highest confidence down; 1 is best.

Σ_t (R_t − R_{t−1}) P_t over the distinct confidences as thresholds, without interpolation (scikit-learn's definition).
Chance is the share of right steps.

>>> average_precision([0.9, 0.8, 0.1], [1, 0, 1])
0.8333333333333333
"""

average_precision_without_half = _without_half(average_precision, _precision)
"""`average_precision` among the steps whose label is not exactly 0.5.

>>> average_precision_without_half([0.1, 0.2, 0.9], [0, 0.5, 1])
1.0
"""

average_precision_error = Figure(
    "average_precision_error",
    "Average precision of errors",
    "higher",
    _all(_precision_of_errors),
    in_tables=False,
    range=(0.0, 1.0),
    meaning="Precision of finding the wrong steps from the lowest confidence up; chance is their share.",
    note=_ERRORS_NOTE,
    reads="raw_confidence",
    undefined=_one_class,
)
"""Average precision of finding the wrong steps (label < 0.5) from the lowest confidence up.

The figure to read where errors are rare. Chance is the share of wrong steps.

>>> average_precision_error([0.9, 0.8, 0.1], [1, 0, 1])
0.5
"""

average_precision_error_without_half = _without_half(average_precision_error, _precision_of_errors)
"""`average_precision_error` among the steps whose label is not exactly 0.5.

>>> average_precision_error_without_half([0.2, 0.1, 0.9], [0, 0.5, 1])
1.0
"""


def _spearman(sums: RankSums) -> FloatArray:
    ours, theirs = _centred_ranks(sums.mass), _centred_ranks(sums.by_label)
    spread = np.sum(sums.mass * ours**2, axis=1) * np.sum(sums.by_label * theirs**2, axis=1)
    by_step = sums.of_labels(theirs)
    return np.clip(ratio(np.sum(ours * by_step, axis=1), np.sqrt(spread)), -1.0, 1.0)


def _centred_ranks(mass: FloatArray) -> FloatArray:
    """Middle ranks as shares of the whole mass, less their mean, which is a half whatever the ties."""
    total = mass.sum(axis=1, keepdims=True)
    middle = np.cumsum(mass, axis=1) - 0.5 * mass
    ranks: FloatArray = np.divide(middle, total, out=np.full_like(mass, 0.5), where=total > 0.0) - 0.5
    return ranks


def _no_order(p: FloatArray, y: FloatArray) -> str:
    name, values = ("confidences", p) if p.min() == p.max() else ("labels", y)
    return f"all {values.size} {name} equal {values[0]:g}, so there is no order to compare"


spearman = Figure(
    "spearman",
    "Spearman",
    "higher",
    Ranks(_spearman),
    in_tables=False,
    range=(-1.0, 1.0),
    meaning="Rank correlation of confidence and label, however soft; 1 is best, 0 is none.",
    reads="raw_confidence",
    undefined=_no_order,
)
"""Pearson's correlation of the ranks of confidence and label, ties at their middle rank; in [-1, 1], 1 is best.

Unlike AUROC it uses soft labels as they are. With few distinct labels it cannot reach 1. Source: Spearman (1904); with
middle ranks as in scipy.stats.spearmanr.

>>> round(spearman([0.1, 0.4, 0.8], [0.0, 1.0, 0.5]), 6)
0.5
"""

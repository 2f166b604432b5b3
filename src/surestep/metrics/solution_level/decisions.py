"""Figures of yes and no: a solution is called right where its score is above 0.5, and otherwise wrong.

Each is made of four counts, so a weighted value and a resampled one are the same formula. A score equal to 0.5 is not
above it, as in the papers. Source of the Matthews correlation: Matthews (1975); all equal scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from surestep.metrics.columns import POSITIVE_LABEL, FloatArray
from surestep.metrics.figures.figure import Column, Columns, Figure, Sums, Totals, ratio

THRESHOLD = 0.5
"""A solution is called right above it."""


def _counts(p: FloatArray, y: FloatArray, _w: FloatArray) -> Columns:
    called, right = p > THRESHOLD, y >= POSITIVE_LABEL
    return {
        "right_kept": Column((called & right).astype(np.float64)),
        "right_lost": Column((~called & right).astype(np.float64)),
        "wrong_found": Column((~called & ~right).astype(np.float64)),
        "wrong_missed": Column((called & ~right).astype(np.float64)),
    }


def _f1(sums: Totals) -> FloatArray:
    hits = 2 * sums["right_kept"]
    return ratio(hits, hits + sums["right_lost"] + sums["wrong_missed"])


def _f1_wrong(sums: Totals) -> FloatArray:
    hits = 2 * sums["wrong_found"]
    return ratio(hits, hits + sums["right_lost"] + sums["wrong_missed"])


def _balanced_accuracy(sums: Totals) -> FloatArray:
    right = ratio(sums["right_kept"], sums["right_kept"] + sums["right_lost"])
    wrong = ratio(sums["wrong_found"], sums["wrong_found"] + sums["wrong_missed"])
    return np.asarray((right + wrong) / 2)


def _matthews(sums: Totals) -> FloatArray:
    kept, lost, found, missed = (sums[name] for name in ("right_kept", "right_lost", "wrong_found", "wrong_missed"))
    both = (kept + missed) * (kept + lost) * (found + missed) * (found + lost)
    has_classes = ((kept + lost) > 0) & ((found + missed) > 0)
    # Everything called the same says nothing: 0, as scikit-learn has it.
    value = np.where(both > 0, (kept * found - missed * lost) / np.sqrt(np.where(both > 0, both, 1.0)), 0.0)
    return np.where(has_classes, value, np.nan)


def _figure(name: str, title: str, value: Callable[[Totals], FloatArray], meaning: str, lowest: float = 0.0) -> Figure:
    return Figure(
        name,
        title,
        "higher",
        Sums(_counts, value),
        range=(lowest, 1.0),
        meaning=meaning,
        undefined=lambda p, y: "there are not both right and wrong solutions",
    )


f1 = _figure("f1", "F1", _f1, "Harmonic mean of precision and recall of the right solutions.")
"""F1 of the right solutions.

>>> f1([0.9, 0.6, 0.2], [1, 0, 1])
0.5
"""

f1_wrong = _figure("f1_wrong", "F1 of wrong", _f1_wrong, "The same of the wrong solutions.")
"""F1 of the wrong solutions.

>>> f1_wrong([0.9, 0.4, 0.2], [1, 0, 1])
0.6666666666666666
"""

balanced_accuracy = _figure(
    "balanced_accuracy",
    "Balanced accuracy",
    _balanced_accuracy,
    "Mean of the shares of right and of wrong solutions that are called so; 0.5 is chance.",
)
"""Mean of the recall of both classes.

>>> balanced_accuracy([0.9, 0.4, 0.2], [1, 0, 1])
0.75
"""

mcc = _figure(
    "mcc", "MCC", _matthews, "Matthews correlation of being right and being called so; 0 is chance.", lowest=-1.0
)
"""Matthews correlation coefficient.

>>> mcc([0.9, 0.4, 0.2], [1, 0, 1])
0.5
"""

DECISIONS = (f1, f1_wrong, balanced_accuracy, mcc)
"""All of them."""

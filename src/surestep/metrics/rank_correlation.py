"""Spearman's rank correlation: does a higher confidence go with a higher label, however soft?

Unlike AUROC it uses soft labels as they are. Knows numbers only; equal values share the middle of their ranks.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from surestep.metrics.columns import FloatArray, UndefinedFigureError, bin_sums, check_columns, weighted_mean


def spearman(confidence: npt.ArrayLike, label: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Pearson's correlation of the ranks of confidence and label, ties at their middle rank; in [-1, 1], 1 is best.

    With few distinct labels it cannot reach 1. Source: Spearman (1904); with middle ranks as in scipy.stats.spearmanr.

    Raises:
        UndefinedFigureError: all confidences, or all labels, are equal.

    >>> round(spearman([0.1, 0.4, 0.8], [0.0, 1.0, 0.5]), 6)
    0.5
    """
    p, y, w = check_columns(confidence, label, weights)
    for name, values in (("confidences", p), ("labels", y)):
        if values.min() == values.max():
            raise UndefinedFigureError(f"all {values.size} {name} equal {values[0]:g}, so there is no order to compare")
    ours, theirs = _centred_ranks(p, w), _centred_ranks(y, w)
    spread = np.sqrt(weighted_mean(ours**2, w) * weighted_mean(theirs**2, w))
    return float(np.clip(weighted_mean(ours * theirs, w) / spread, -1.0, 1.0))


def _centred_ranks(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Middle ranks as shares of the whole mass, less their mean, which is a half whatever the ties."""
    _, group = np.unique(values, return_inverse=True)
    mass = bin_sums(group, weights)
    ranks: FloatArray = ((np.cumsum(mass) - 0.5 * mass) / mass.sum() - 0.5)[group]
    return ranks

"""The Brier score taken apart: how far off its bins are, how much they tell, and how uncertain the labels are.

Brier = reliability − resolution + uncertainty + within-bin remainder, over the ten bins of equal width. Labels count
as 0 or 1 (label ≥ 0.5), as in `brier`. Reliability and resolution are plug-in values, biased upward on few steps.

Legend: p confidence, o binary label, w_b share of the steps in bin b.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from surestep.metrics.calibration_error import NUM_BINS, equal_width_bins
from surestep.metrics.columns import POSITIVE_LABEL, check_columns
from surestep.metrics.pointwise import brier


def brier_reliability(confidence: npt.ArrayLike, label: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Σ_b w_b (mean p in b − mean o in b)², at least 0; 0 is best. Source: Murphy (1973).

    >>> brier_reliability([0.25, 0.25, 0.75, 0.75], [0, 0, 1, 1])
    0.0625
    """
    return _parts(confidence, label, weights)[0]


def brier_resolution(confidence: npt.ArrayLike, label: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Σ_b w_b (mean o in b − mean o)², from 0 to the uncertainty; higher is better. Source: Murphy (1973).

    >>> brier_resolution([0.25, 0.25, 0.75, 0.75], [0, 0, 1, 1])
    0.25
    """
    return _parts(confidence, label, weights)[1]


def brier_uncertainty(confidence: npt.ArrayLike, label: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """mean o (1 − mean o), in [0, 0.25]: a property of the labels alone. Source: Murphy (1973).

    >>> brier_uncertainty([0.9, 0.9], [0, 1])
    0.25
    """
    return _parts(confidence, label, weights)[2]


def brier_within_bin(confidence: npt.ArrayLike, label: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """What the other three leave of the Brier score: Σ_b w_b (var of p in b − 2 cov of p and o in b).

    Murphy's identity is exact where all confidences of a bin are equal, and then this is 0; negative where confidences
    order the steps within a bin. Source: Stephenson, Coelho, Jolliffe (Weather and Forecasting 2008).

    >>> brier_within_bin([0.25, 0.25], [0, 1])
    0.0
    """
    reliability, resolution, uncertainty = _parts(confidence, label, weights)
    return brier(confidence, label, weights) - (reliability - resolution + uncertainty)


def _parts(
    confidence: npt.ArrayLike, label: npt.ArrayLike, weights: npt.ArrayLike | None
) -> tuple[float, float, float]:
    p, y, w = check_columns(confidence, label, weights)
    positive = (y >= POSITIVE_LABEL).astype(np.float64)
    bins = equal_width_bins(p)
    mass = np.bincount(bins, w, NUM_BINS)
    used = mass > 0
    mean_p = np.bincount(bins, w * p, NUM_BINS)[used] / mass[used]
    mean_o = np.bincount(bins, w * positive, NUM_BINS)[used] / mass[used]
    share = mass[used] / mass.sum()
    base = float(np.sum(share * mean_o))
    return (
        float(np.sum(share * (mean_p - mean_o) ** 2)),
        float(np.sum(share * (mean_o - base) ** 2)),
        base * (1.0 - base),
    )

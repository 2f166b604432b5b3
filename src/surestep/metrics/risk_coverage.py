"""What trusting only the most confident steps costs: the area under the risk-coverage curve.

Keep the share c of steps with the highest confidence (c is the coverage); the risk r(c) is the mean of 1 − label
among them. Knows the order of the confidences and the labels; equal confidences are kept in equal parts.

Legend: G groups of equal value, from the first kept to the last.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from surestep.metrics.columns import FloatArray, bin_sums, check_columns


def risk_coverage_area(confidence: npt.ArrayLike, label: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Area under r(c) for c from 0 to 1, in [0, 1]; 0 is best, the mean of 1 − label is an order at random.

    Source: Geifman and El-Yaniv (NeurIPS 2017); area as in Geifman, Uziel, El-Yaniv (ICLR 2019), here as the
    integral over a continuous coverage, which a repeated row leaves unchanged, not the mean over the n steps.

    >>> risk_coverage_area([0.5, 0.5], [0.0, 1.0])
    0.5
    """
    p, y, w = check_columns(confidence, label, weights)
    return float(area_of_groups(*_mass_and_loss(-p, y, w)))


def risk_coverage_excess(
    confidence: npt.ArrayLike, label: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> float:
    """`risk_coverage_area` less that of the best order, which keeps the highest labels first; 0 is best.

    With hard labels and a share r of wrong steps the best area is r + (1 − r) ln(1 − r). Source: excess AURC of
    Geifman, Uziel, El-Yaniv (ICLR 2019).

    >>> risk_coverage_excess([0.9, 0.2, 0.1], [1.0, 0.5, 0.0])
    0.0
    """
    p, y, w = check_columns(confidence, label, weights)
    excess = area_of_groups(*_mass_and_loss(-p, y, w)) - area_of_groups(*_mass_and_loss(-y, y, w))
    return max(float(excess), 0.0)  # rounding alone can make it negative


def area_of_groups(mass: FloatArray, loss: FloatArray) -> FloatArray:
    """∫ r(c) dc, where groups are kept in the order given, each in equal parts of its steps.

    Within a group of mass m and mean loss l, after mass a with loss E, r = (E + (t − a) l) / t at mass t, so the
    group adds (E − a l) ln((a + m) / a) + l m.

    Args:
        mass: shape (..., G), at least 0, not all 0.
        loss: shape (..., G), summed over the group; 0 where its mass is.

    Returns:
        Shape (...,).

    >>> float(area_of_groups(np.array([1.0, 1.0]), np.array([0.0, 1.0])).round(9))  # half wrong: 0.5 + 0.5 ln 0.5
    0.15342641
    """
    until = np.cumsum(mass, axis=-1)
    before = until - mass
    mean = np.divide(loss, mass, out=np.zeros_like(loss), where=mass > 0.0)
    growth = np.log1p(np.divide(mass, before, out=np.zeros_like(mass), where=before > 0.0))
    lost_before = np.cumsum(loss, axis=-1) - loss
    return np.asarray(np.sum((lost_before - before * mean) * growth + loss, axis=-1) / until[..., -1])


def _mass_and_loss(order_by: FloatArray, label: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    _, group = np.unique(order_by, return_inverse=True)
    return bin_sums(group, weights), bin_sums(group, weights * (1.0 - label))

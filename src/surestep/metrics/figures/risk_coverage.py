"""The area under the risk–coverage curve.

Keep the share c of steps with the highest confidence (c is the coverage); the risk r(c) is the mean of 1 − label
among them. Knows the order of the confidences and the labels; equal confidences are kept in equal parts.

Legend: D groups of equal value, from the first kept to the last.
"""

from __future__ import annotations

import numpy as np

from surestep.metrics.columns import FloatArray
from surestep.metrics.figures.figure import Figure, Ranks
from surestep.metrics.figures.rank_sums import RankSums


def area_of_groups(mass: FloatArray, loss: FloatArray) -> FloatArray:
    """∫ r(c) dc, where groups are kept in the order given, each in equal parts of its steps.

    Within a group of mass m and mean loss l, after mass a with loss E, r = (E + (t − a) l) / t at mass t, so the
    group adds (E − a l) ln((a + m) / a) + l m.

    Args:
        mass: shape (..., D), at least 0.
        loss: shape (..., D), summed over the group; 0 where its mass is.

    Returns:
        Shape (...,); NaN where there is no mass.

    >>> float(area_of_groups(np.array([1.0, 1.0]), np.array([0.0, 1.0])).round(9))  # half wrong: 0.5 + 0.5 ln 0.5
    0.15342641
    """
    until = np.cumsum(mass, axis=-1)
    before = until - mass
    mean = np.divide(loss, mass, out=np.zeros_like(loss), where=mass > 0.0)
    growth = np.log1p(np.divide(mass, before, out=np.zeros_like(mass), where=before > 0.0))
    lost_before = np.cumsum(loss, axis=-1) - loss
    area = np.sum((lost_before - before * mean) * growth + loss, axis=-1)
    all_mass = until[..., -1]
    return np.asarray(np.divide(area, all_mass, out=np.full_like(all_mass, np.nan), where=all_mass > 0.0))


def _area(sums: RankSums) -> FloatArray:
    return area_of_groups(sums.mass[:, ::-1], sums.loss[:, ::-1])


def _excess(sums: RankSums) -> FloatArray:
    by_label = sums.by_label
    best = area_of_groups(by_label[:, ::-1], (by_label * (1.0 - sums.labels))[:, ::-1])
    return np.maximum(sums.once(_area) - best, 0.0)  # rounding alone can make it negative


risk_coverage_area = Figure(
    "risk_coverage_area",
    "Area under the risk–coverage curve",
    "lower",
    Ranks(lambda sums: sums.once(_area)),
    in_tables=False,
    range=(0.0, 1.0),
    meaning="Mean error among the most confident share of the steps, over all shares; 0 is best.",
    reads="raw_confidence",
)
"""Area under r(c) for c from 0 to 1, in [0, 1]; the mean of 1 − label is an order at random.

Source: Geifman and El-Yaniv (NeurIPS 2017); area as in Geifman, Uziel, El-Yaniv (ICLR 2019), here as the integral over
a continuous coverage, which a repeated row leaves unchanged, not the mean over the n steps.

>>> risk_coverage_area([0.5, 0.5], [0.0, 1.0])
0.5
"""

risk_coverage_excess = Figure(
    "risk_coverage_excess",
    "Risk-coverage excess",
    "lower",
    Ranks(_excess),
    in_tables=False,
    range=(0.0, 1.0),
    meaning="Area under the risk–coverage curve above that of the best possible order; 0 is best.",
    reads="raw_confidence",
)
"""`risk_coverage_area` less that of the best order, which keeps the highest labels first.

With hard labels and a share r of wrong steps the best area is r + (1 − r) ln(1 − r). Source: excess AURC of Geifman,
Uziel, El-Yaniv (ICLR 2019).

>>> risk_coverage_excess([0.9, 0.2, 0.1], [1.0, 0.5, 0.0])
0.0
"""

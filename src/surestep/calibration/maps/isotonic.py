"""Isotonic regression by pooling adjacent violators, and how far its ends are kept from 0 and 1.

The rising function of least squared error is also that of least NLL (Robertson, Wright, Dykstra, Order Restricted
Statistical Inference, 1988, theorem 1.5.1), so it competes with the others on equal terms. Soft labels and weights
count as they are.

Legend: N steps, U different confidences.
"""

from __future__ import annotations

import math

import numpy as np

from surestep.calibration.gain import FloatArray
from surestep.calibration.maps.confidence_map import Isotonic


def clip_for(num_steps: float) -> float:
    """1 / (2 (√n + 1)): where the minimax estimate of a proportion puts n steps that were all right.

    Source: Steinhaus (Annals of Mathematical Statistics, 1957). Of the amounts tried it costs the least on new problems
    (docs/experiments/2026-11-23-choice-of-calibration-map.md): with no clip a few sure mistakes outweigh all that the
    map mends.

    >>> clip_for(10_000)
    0.0049504950495049506
    """
    return 0.5 / (math.sqrt(num_steps) + 1.0)


def fit_isotonic(confidence: FloatArray, label: FloatArray, weights: FloatArray) -> Isotonic:
    """The isotonic map of least NLL; equal confidences are one point.

    >>> fit_isotonic(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.0, 1.0, 0.0, 1.0]), np.ones(4)).values
    (0.16666666666666666, 0.5, 0.5, 0.8333333333333334)
    """
    used = weights > 0
    points, place = np.unique(confidence[used], return_inverse=True)
    mass = np.bincount(place, weights[used]).astype(np.float64)
    mean = np.bincount(place, weights[used] * label[used]) / mass
    clip = clip_for(float(np.count_nonzero(used)))
    # Before the lines are drawn, so that only the ends of the map are moved.
    values = np.clip(pool_adjacent_violators(mean, mass), clip, 1.0 - clip)
    # Within a level stretch only its two ends say anything.
    differs = np.diff(values) != 0
    keep = np.concatenate([[True], differs]) | np.concatenate([differs, [True]])
    return Isotonic(tuple(points[keep].tolist()), tuple(values[keep].tolist()), clip)


def pool_adjacent_violators(values: FloatArray, weights: FloatArray) -> FloatArray:
    """The rising sequence [U] of least weighted squared distance to `values` [U]; weights above 0.

    >>> pool_adjacent_violators(np.array([1.0, 3.0, 2.0, 4.0]), np.array([1.0, 1.0, 3.0, 1.0])).tolist()
    [1.0, 2.25, 2.25, 4.0]
    """
    means: list[float] = []
    masses: list[float] = []
    counts: list[int] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        count = 1
        while means and means[-1] >= value:
            total = masses[-1] + weight
            value = (means.pop() * masses.pop() + value * weight) / total
            weight = total
            count += counts.pop()
        means.append(value)
        masses.append(weight)
        counts.append(count)
    # Rounding can carry the mean of ones a digit past 1.
    rising: FloatArray = np.clip(np.repeat(means, counts), float(values.min()), float(values.max()))
    return rising

"""Isotonic regression (Zadrozny, Elkan, KDD 2002), by SciPy; the ends of the map are kept off 0 and 1.

The rising function of least squared error is also that of least NLL (Robertson, Wright, Dykstra, Order Restricted
Statistical Inference, 1988, theorem 1.5.1), so it competes with the others on equal terms. Soft labels and weights
count as they are.

Legend: N steps, U different confidences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from surestep.calibration.gain import FloatArray
from surestep.calibration.maps.confidence_map import ConfidenceMap, check_finite
from surestep.counted import counted


@dataclass(frozen=True)
class Isotonic(ConfidenceMap):
    """Straight lines between points that rise from left to right, level beyond them, kept off 0 and 1.

    Attributes:
        points: confidences, rising.
        values: the calibrated confidence at each point, not falling.
        clip: results are kept in [clip, 1 − clip]; see `clip_for`.
    """

    points: tuple[float, ...]
    values: tuple[float, ...]
    clip: float
    kind: ClassVar[str] = "isotonic"

    def __post_init__(self) -> None:
        check_finite(self.kind, points=self.points, values=self.values, clip=self.clip)
        object.__setattr__(self, "points", tuple(map(float, self.points)))
        object.__setattr__(self, "values", tuple(map(float, self.values)))
        points, values = np.array(self.points), np.array(self.values)
        if not points.size or points.shape != values.shape:
            raise ValueError(
                f"{counted(points.size, 'point')} and {counted(values.size, 'value')}; allowed: as many of each, at "
                "least one"
            )
        if (points[1:] <= points[:-1]).any() or (values[1:] < values[:-1]).any():
            raise ValueError("the points or the values of an isotonic map do not rise")
        if points[0] < 0 or points[-1] > 1 or values[0] < 0 or values[-1] > 1 or not 0 <= self.clip <= 0.5:
            raise ValueError(
                "a point, a value or the clip of an isotonic map is out of range; allowed: 0 to 1, 0 to 0.5"
            )

    def apply(self, confidence: npt.ArrayLike) -> FloatArray:
        """Calibrated confidences."""
        points, values = np.array(self.points), np.array(self.values)
        p = np.clip(np.array(confidence, dtype=np.float64), points[0], points[-1])
        if len(points) == 1:
            return np.asarray(np.clip(p * 0.0 + values[0], self.clip, 1.0 - self.clip))
        # The share of the way between two points, not the slope of the line: between subnormal points a slope is
        # infinite (numpy.interp then falls). Each operation here rises, and the end of the line bounds it.
        left = np.clip(np.searchsorted(points, p, side="right") - 1, 0, len(points) - 2)
        low, high = values[left], values[left + 1]
        share = (p - points[left]) / (points[left + 1] - points[left])
        found = np.where(share >= 1.0, high, np.minimum(low + share * (high - low), high))
        return np.clip(found, self.clip, 1.0 - self.clip)

    @classmethod
    def fit(cls, confidence: FloatArray, label: FloatArray, weights: FloatArray) -> Self:
        """The isotonic map of least NLL; equal confidences are one point.

        >>> Isotonic.fit(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.0, 1.0, 0.0, 1.0]), np.ones(4)).values
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
        return cls(tuple(points[keep].tolist()), tuple(values[keep].tolist()), clip)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """As every map; points and values are lists in JSON."""
        for name in ("points", "values"):
            if not isinstance(fields.get(name, []), list | tuple):
                raise ValueError(f"{name} of an isotonic map is no list; allowed: a list of numbers")
        return super().from_json(fields)

    def in_words(self) -> str:
        """Its size; the points are too many to read."""
        return f"isotonic ({counted(len(self.points), 'point')}, kept {self.clip:.2g} off 0 and 1)"


def clip_for(num_steps: float) -> float:
    """1 / (2 (√n + 1)): where the minimax estimate of a proportion puts n steps that were all right.

    Source: Steinhaus (Annals of Mathematical Statistics, 1957). Of the amounts tried it costs the least on new problems
    (docs/experiments/2026-11-23-choice-of-calibration-map.md): with no clip a few sure mistakes outweigh all that the
    map mends.

    >>> clip_for(10_000)
    0.0049504950495049506
    """
    return 0.5 / (math.sqrt(num_steps) + 1.0)


def pool_adjacent_violators(values: FloatArray, weights: FloatArray) -> FloatArray:
    """The rising sequence [U] of least weighted squared distance to `values` [U]; weights above 0.

    >>> pool_adjacent_violators(np.array([1.0, 3.0, 2.0, 4.0]), np.array([1.0, 1.0, 3.0, 1.0])).tolist()
    [1.0, 2.25, 2.25, 4.0]
    """
    from scipy.optimize import isotonic_regression  # half a second of importing, which only fitting is to cost

    found = isotonic_regression(values, weights=weights).x
    # Rounding can carry the mean of ones a digit past 1.
    return np.asarray(np.clip(found, float(values.min()), float(values.max())))

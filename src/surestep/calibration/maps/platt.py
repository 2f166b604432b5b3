"""Platt scaling on the logit: slope and intercept (Platt, 1999)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from surestep.calibration.gain import FloatArray
from surestep.calibration.maps.confidence_map import ConfidenceMap, check_finite
from surestep.calibration.maps.logistic_fit import logit, minimise_nll_with_slopes_from_zero, sigmoid_of_sum


@dataclass(frozen=True)
class Platt(ConfidenceMap):
    """logit q = slope · logit p + intercept, slope at least 0."""

    slope: float
    intercept: float
    kind: ClassVar[str] = "platt"

    def __post_init__(self) -> None:
        check_finite(self.kind, slope=self.slope, intercept=self.intercept)
        if self.slope < 0:
            raise ValueError(f"slope is {self.slope}; allowed: 0 or more")

    def apply(self, confidence: npt.ArrayLike) -> FloatArray:
        """Calibrated confidences."""
        with np.errstate(over="ignore"):
            return sigmoid_of_sum(self.slope * logit(confidence), self.intercept)

    @classmethod
    def fit(cls, confidence: FloatArray, label: FloatArray, weights: FloatArray) -> Self:
        """Slope (at least 0) and intercept of least NLL."""
        features = np.stack([logit(confidence), np.ones_like(confidence)], axis=1)
        slope, intercept = minimise_nll_with_slopes_from_zero(features, label, weights, num_slopes=1)
        return cls(float(slope), float(intercept))

"""Beta calibration: three numbers (Kull, Silva Filho, Flach, AISTATS 2017, eq. 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from surestep.calibration.gain import FloatArray
from surestep.calibration.maps.confidence_map import ConfidenceMap, check_finite
from surestep.calibration.maps.logistic_fit import log_parts, minimise_nll_with_slopes_from_zero, sigmoid_of_sum


@dataclass(frozen=True)
class Beta(ConfidenceMap):
    """logit q = a ln p − b ln(1 − p) + c, a and b at least 0; a = b is Platt's map.

    >>> from surestep.calibration.maps.platt import Platt
    >>> bool(np.isclose(Beta(2.0, 2.0, 0.5).apply(0.3), Platt(2.0, 0.5).apply(0.3)))
    True
    """

    a: float
    b: float
    c: float
    kind: ClassVar[str] = "beta"

    def __post_init__(self) -> None:
        check_finite(self.kind, a=self.a, b=self.b, c=self.c)
        if min(self.a, self.b) < 0:
            raise ValueError(f"a is {self.a} and b {self.b}; allowed: 0 or more")

    def apply(self, confidence: npt.ArrayLike) -> FloatArray:
        """Calibrated confidences."""
        log_p, log_rest = log_parts(confidence)
        with np.errstate(over="ignore"):
            return sigmoid_of_sum(self.a * log_p, -self.b * log_rest, self.c)

    @classmethod
    def fit(cls, confidence: FloatArray, label: FloatArray, weights: FloatArray) -> Self:
        """a, b (at least 0) and c of least NLL."""
        log_p, log_rest = log_parts(confidence)
        features = np.stack([log_p, -log_rest, np.ones_like(log_p)], axis=1)
        a, b, c = minimise_nll_with_slopes_from_zero(features, label, weights, num_slopes=2)
        return cls(float(a), float(b), float(c))

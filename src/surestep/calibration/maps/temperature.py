"""Temperature scaling: one number (Guo, Pleiss, Sun, Weinberger, ICML 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from surestep.calibration.gain import FloatArray
from surestep.calibration.maps.confidence_map import ConfidenceMap, check_finite
from surestep.calibration.maps.logistic_fit import logit, minimise_nll, sigmoid_of_sum

MAX_TEMPERATURE = 1000.0
"""At this T every confidence is 0.5 to the second digit; where no slope above 0 helps, T stays here."""


@dataclass(frozen=True)
class Temperature(ConfidenceMap):
    """logit q = logit p / T; T above 1 makes an overconfident model more careful.

    >>> round(float(Temperature(2.0).apply(0.9)), 4)
    0.75
    """

    temperature: float
    kind: ClassVar[str] = "temperature"

    def __post_init__(self) -> None:
        check_finite(self.kind, temperature=self.temperature)
        if self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature}; allowed: above 0")

    def apply(self, confidence: npt.ArrayLike) -> FloatArray:
        """Calibrated confidences."""
        with np.errstate(over="ignore"):  # a T near 0: infinite, and then 0 or 1
            return sigmoid_of_sum(logit(confidence) / self.temperature)

    @classmethod
    def fit(cls, confidence: FloatArray, label: FloatArray, weights: FloatArray) -> Self:
        """The temperature of least NLL, at most `MAX_TEMPERATURE`.

        >>> p = np.array([0.9, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1])
        >>> y = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0])
        >>> round(Temperature.fit(p, y, np.ones(8)).temperature, 6)
        2.0
        """
        (slope,) = minimise_nll(logit(confidence)[:, None], label, weights)
        return cls(1.0 / max(float(slope), 1.0 / MAX_TEMPERATURE))

"""What a calibration map is, and the map that changes nothing.

A map gives a calibrated confidence for a model's own. Its contract, tested for every entry of `MAPS`: for all floats
from 0 to 1 it never falls, stays in [0, 1], warns of nothing, and gives a confidence the same result alone and in an
array. So no map turns an order around; several confidences may become one, so ranking figures use the model's own.
NaN (no confidence) stays NaN. Numpy only; every map is plain numbers.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from surestep.calibration.gain import FloatArray


@dataclass(frozen=True)
class ConfidenceMap(ABC):
    """Numbers with a name, a function of the confidence, and a fit to labels.

    A new map is a frozen dataclass in a file of its own with `kind`, `apply` and `fit`, and one entry in
    `surestep.calibration.maps.MAPS`.
    """

    kind: ClassVar[str]
    """The name: in `calibration.json`, in `--method` and in tables."""

    @abstractmethod
    def apply(self, confidence: npt.ArrayLike) -> FloatArray:
        """Calibrated confidences, float64 in [0, 1] of the same shape, for confidences in [0, 1]."""

    @classmethod
    @abstractmethod
    def fit(cls, confidence: FloatArray, label: FloatArray, weights: FloatArray) -> Self:
        """The map of least NLL.

        Args:
            confidence: float64 [N], in [0, 1].
            label: float64 [N], in [0, 1]; soft labels count as they are.
            weights: float64 [N], at least 0, not all 0: how often a step counts.
        """

    def to_json(self) -> dict[str, Any]:
        """The kind and the numbers, JSON-ready."""
        return {"kind": self.kind, **asdict(self)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """The map of these numbers: what `to_json` gave, without the kind.

        Raises:
            ValueError: a missing or unknown field, a number out of range.
        """
        try:
            return cls(**fields)
        except TypeError as error:
            raise ValueError(f"calibration map {cls.kind}: {error}") from None

    def in_words(self) -> str:
        """Kind and numbers for a reader."""
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in asdict(self).items())
        return f"{self.kind} ({numbers})" if numbers else self.kind


@dataclass(frozen=True)
class Identity(ConfidenceMap):
    """The confidence as it is."""

    kind: ClassVar[str] = "identity"

    def apply(self, confidence: npt.ArrayLike) -> FloatArray:
        """The confidences themselves, as float64."""
        return np.array(confidence, dtype=np.float64)

    @classmethod
    def fit(cls, confidence: FloatArray, label: FloatArray, weights: FloatArray) -> Self:
        """The identity, whatever the labels."""
        return cls()


def check_finite(kind: str, **values: Any) -> None:
    """Refuse what is no finite number, as a file may hold it.

    Raises:
        ValueError: a value is no number, not finite, or too large for a float.

    >>> check_finite("platt", slope=1, intercept=-0.5)
    """
    for name, value in values.items():
        for number in value if isinstance(value, list | tuple) else (value,):
            is_number = isinstance(number, int | float) and not isinstance(number, bool)
            # Compared, not converted: an int of 400 digits is no float. NaN is not at most anything.
            if not is_number or not abs(number) <= sys.float_info.max:
                raise ValueError(f"{name} of a {kind} map is {str(number)[:40]}; allowed: a finite number")

"""Maps from a model's confidence to a calibrated one: what they are and how they are written; not how they are fitted.

    identity      q = p
    temperature   logit q = logit p / T                    Guo, Pleiss, Sun, Weinberger (ICML 2017)
    platt         logit q = slope · logit p + intercept    Platt (1999), on the logit
    beta          logit q = a ln p − b ln(1 − p) + c       Kull, Silva Filho, Flach (AISTATS 2017), eq. 3
    isotonic      q = a rising function through points     Zadrozny, Elkan (KDD 2002)

All rise or stay level, so none turns an order around; several confidences may become one, so ranking figures use
the model's own scores. Numpy only; every map is plain numbers.

Legend: p confidence, q calibrated confidence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from surestep.calibration.gain import FloatArray

LOGIT_CLIP = 1e-12
"""A logit takes confidences as no closer than this to 0 and 1: it stays within ±27.6."""


class ConfidenceMap(Protocol):
    """What every map is: numbers with a name, and a function."""

    kind: ClassVar[str]

    def apply(self, confidence: npt.ArrayLike) -> FloatArray:
        """Calibrated confidences of any shape, each in [0, 1], for confidences in [0, 1]."""
        ...


def logit(confidence: npt.ArrayLike) -> FloatArray:
    """ln p − ln(1 − p), with p clipped by `LOGIT_CLIP`.

    >>> float(logit(0.5))
    0.0
    """
    p = clipped(confidence)
    odds: FloatArray = np.log(p) - np.log1p(-p)
    return odds


def sigmoid(values: FloatArray) -> FloatArray:
    """1 / (1 + e^−z), without overflow at either end.

    >>> sigmoid(np.array([-1e4, 0.0, 1e4])).tolist()
    [0.0, 0.5, 1.0]
    """
    small = np.exp(-np.abs(values))
    result: FloatArray = np.where(values >= 0, 1.0, small) / (1.0 + small)
    return result


def clipped(confidence: npt.ArrayLike) -> FloatArray:
    """float64, `LOGIT_CLIP` away from 0 and 1."""
    return np.clip(np.asarray(confidence, dtype=np.float64), LOGIT_CLIP, 1.0 - LOGIT_CLIP)


@dataclass(frozen=True)
class Identity:
    """The confidence as it is."""

    kind: ClassVar[str] = "identity"

    def apply(self, confidence: npt.ArrayLike) -> FloatArray:
        """The confidences themselves, as float64."""
        return np.array(confidence, dtype=np.float64)


@dataclass(frozen=True)
class Temperature:
    """logit q = logit p / T; T above 1 makes an overconfident model more careful.

    >>> round(float(Temperature(2.0).apply(0.9)), 4)
    0.75
    """

    temperature: float
    kind: ClassVar[str] = "temperature"

    def __post_init__(self) -> None:
        _check_finite(self)
        if self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature}; allowed: above 0")

    def apply(self, confidence: npt.ArrayLike) -> FloatArray:
        """Calibrated confidences."""
        return sigmoid(logit(confidence) / self.temperature)


@dataclass(frozen=True)
class Platt:
    """logit q = slope · logit p + intercept, slope at least 0."""

    slope: float
    intercept: float
    kind: ClassVar[str] = "platt"

    def __post_init__(self) -> None:
        _check_finite(self)
        if self.slope < 0:
            raise ValueError(f"slope is {self.slope}; allowed: 0 or more")

    def apply(self, confidence: npt.ArrayLike) -> FloatArray:
        """Calibrated confidences."""
        return sigmoid(self.slope * logit(confidence) + self.intercept)


@dataclass(frozen=True)
class Beta:
    """logit q = a ln p − b ln(1 − p) + c, a and b at least 0; a = b is Platt's map.

    >>> bool(np.isclose(Beta(2.0, 2.0, 0.5).apply(0.3), Platt(2.0, 0.5).apply(0.3)))
    True
    """

    a: float
    b: float
    c: float
    kind: ClassVar[str] = "beta"

    def __post_init__(self) -> None:
        _check_finite(self)
        if min(self.a, self.b) < 0:
            raise ValueError(f"a is {self.a} and b {self.b}; allowed: 0 or more")

    def apply(self, confidence: npt.ArrayLike) -> FloatArray:
        """Calibrated confidences."""
        p = clipped(confidence)
        return sigmoid(self.a * np.log(p) - self.b * np.log1p(-p) + self.c)


@dataclass(frozen=True)
class Isotonic:
    """Straight lines between points that rise from left to right, level beyond them, kept off 0 and 1.

    Attributes:
        points: confidences, rising.
        values: the calibrated confidence at each point, not falling.
        clip: results are kept in [clip, 1 − clip]; see `surestep.calibration.maps.isotonic.clip_for`.
    """

    points: tuple[float, ...]
    values: tuple[float, ...]
    clip: float
    kind: ClassVar[str] = "isotonic"

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", tuple(map(float, self.points)))
        object.__setattr__(self, "values", tuple(map(float, self.values)))
        _check_finite(self)
        points, values = np.array(self.points), np.array(self.values)
        if not points.size or points.shape != values.shape:
            raise ValueError(f"{points.size} points and {values.size} values; allowed: as many of each, at least one")
        if (np.diff(points) <= 0).any() or (np.diff(values) < 0).any():
            raise ValueError("the points or the values of an isotonic map do not rise")
        if points[0] < 0 or points[-1] > 1 or values[0] < 0 or values[-1] > 1 or not 0 <= self.clip <= 0.5:
            raise ValueError(
                "a point, a value or the clip of an isotonic map is out of range; allowed: 0 to 1, 0 to 0.5"
            )

    def apply(self, confidence: npt.ArrayLike) -> FloatArray:
        """Calibrated confidences."""
        found = np.interp(np.asarray(confidence, dtype=np.float64), self.points, self.values)
        return np.clip(found, self.clip, 1.0 - self.clip)


MAPS: dict[str, type[Identity | Temperature | Platt | Beta | Isotonic]] = {
    made.kind: made for made in (Identity, Temperature, Platt, Beta, Isotonic)
}
"""Every map by its kind, from the simplest to the most flexible."""


def map_to_json(made: ConfidenceMap) -> dict[str, Any]:
    """The kind and the numbers of a map, JSON-ready.

    >>> map_to_json(Platt(1.5, -0.25))
    {'kind': 'platt', 'slope': 1.5, 'intercept': -0.25}
    """
    return {"kind": made.kind, **asdict(made)}  # type: ignore[call-overload]


def map_from_json(values: Mapping[str, Any]) -> ConfidenceMap:
    """The map that `map_to_json` wrote.

    Raises:
        ValueError: an unknown kind, a missing or unknown field, a number out of range.

    >>> map_from_json({"kind": "temperature", "temperature": 1.5})
    Temperature(temperature=1.5)
    """
    fields = dict(values)
    kind = fields.pop("kind", None)
    if kind not in MAPS:
        raise ValueError(f"calibration map of kind {kind!r}; allowed: {', '.join(MAPS)}")
    try:
        return MAPS[kind](**fields)
    except TypeError as error:
        raise ValueError(f"calibration map {kind}: {error}") from None


def _check_finite(made: Any) -> None:
    for name, value in asdict(made).items():
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
                raise ValueError(f"{name} of a {made.kind} map is {number!r}; allowed: a finite number")

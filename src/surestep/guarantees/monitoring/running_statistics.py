"""How suspicious a solution looks after each of its steps: the statistics that the monitor compares with a threshold.

Each is updated by one score at a time, for one solution or for many side by side, so that a session and its calibration
cannot differ. Knows scores; knows no label, no problem and no threshold.

Legend: S solutions; M the statistic, larger is more suspicious.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Protocol, cast

import numpy as np
import numpy.typing as npt

from surestep.arrays import FloatArray

_LEAST = 1e-12
"""Scores are taken as at least this and at most one minus this where a logarithm is formed. It ties what lies beyond,
which costs power and never the promise: calibration and use do the same."""

Reads = Literal["raw", "confidence"]


class RunningStatistic(Protocol):
    """A number after every step, made of the scores up to it.

    Attributes:
        name: as flags and files call it.
        title: in words.
        reads: which scores it takes: the scorer's own, or those after the calibration map.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    reads: ClassVar[Reads]

    def begin(self, shape: tuple[int, ...] = ()) -> FloatArray:
        """The state before the first step, (K, *shape), of solutions that stand in an array of this shape."""
        ...

    def after(self, state: FloatArray, score: FloatArray) -> FloatArray:
        """The state after one more step with `score`, in [0, 1], of the shape of the solutions."""
        ...

    def value(self, state: FloatArray) -> FloatArray:
        """M, of the shape of the solutions."""
        ...

    def log_evidence(self, value: FloatArray) -> FloatArray:
        """The logarithm of M as a number from 0 that larger M makes larger, for the conformal e-value."""
        ...

    def above(self, threshold: float) -> str:
        """M above a threshold, as people read it."""
        ...


@dataclass(frozen=True, slots=True)
class LowestStep:
    """M = −(lowest score so far): the dual of the certificate, unchanged by any strictly increasing map."""

    name: ClassVar[str] = "lowest_step"
    title: ClassVar[str] = "lowest step"
    reads: ClassVar[Reads] = "raw"

    def begin(self, shape: tuple[int, ...] = ()) -> FloatArray:
        """See `RunningStatistic`."""
        return np.full((1, *shape), -np.inf)

    def after(self, state: FloatArray, score: FloatArray) -> FloatArray:
        """See `RunningStatistic`."""
        return np.maximum(state, -score)

    def value(self, state: FloatArray) -> FloatArray:
        """See `RunningStatistic`."""
        return _of(state[0])

    def log_evidence(self, value: FloatArray) -> FloatArray:
        """See `RunningStatistic`: of 1 − the lowest score."""
        with np.errstate(divide="ignore"):
            return np.log1p(np.maximum(value, -1.0))

    def above(self, threshold: float) -> str:
        """See `RunningStatistic`."""
        return f"the lowest raw confidence is below {-threshold:.4g}"


@dataclass(frozen=True, slots=True)
class RunningProduct:
    """M = −Σ log of the scores so far: how little is left of the product."""

    name: ClassVar[str] = "product"
    title: ClassVar[str] = "product of the steps"
    reads: ClassVar[Reads] = "confidence"

    def begin(self, shape: tuple[int, ...] = ()) -> FloatArray:
        """See `RunningStatistic`."""
        return np.zeros((1, *shape))

    def after(self, state: FloatArray, score: FloatArray) -> FloatArray:
        """See `RunningStatistic`."""
        return state - np.log(np.maximum(score, _LEAST))

    def value(self, state: FloatArray) -> FloatArray:
        """See `RunningStatistic`."""
        return _of(state[0])

    def log_evidence(self, value: FloatArray) -> FloatArray:
        """See `RunningStatistic`."""
        with np.errstate(divide="ignore"):
            return np.log(np.maximum(value, 0.0))

    def above(self, threshold: float) -> str:
        """See `RunningStatistic`."""
        return f"the product of confidences is below {math.exp(-threshold):.4g}"


@dataclass(frozen=True, slots=True)
class MixedRatio:
    """M = the log of a likelihood ratio, mixed over the unknown step at which the solution goes wrong.

    With LR_t = ((1 − s_t) / s_t) · (π / (1 − π)), the density ratio by Bayes, and a start after each step with
    probability h: A_t = (A_{t−1} + h (1 − h)^{t−1}) LR_t and M_t = A_t + (1 − h)^t. It is a martingale only for scores
    that are calibrated given the past, so no threshold is taken from that: the monitor ranks it like any other.

    Attributes:
        right_share: π, the share of right steps, in (0, 1), known beforehand.
        start_rate: h, in (0, 1).
    """

    name: ClassVar[str] = "mixed_ratio"
    title: ClassVar[str] = "mixed likelihood ratio"
    reads: ClassVar[Reads] = "confidence"

    right_share: float = 0.9
    start_rate: float = 0.1

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < 1.0:
                raise ValueError(f"{field.name} is {value!r}; allowed: above 0 and below 1")

    def begin(self, shape: tuple[int, ...] = ()) -> FloatArray:
        """See `RunningStatistic`: log A and t log(1 − h)."""
        return np.stack([np.full(shape, -np.inf), np.zeros(shape)])

    def after(self, state: FloatArray, score: FloatArray) -> FloatArray:
        """See `RunningStatistic`."""
        sure = np.clip(score, _LEAST, 1.0 - _LEAST)
        ratio = np.log1p(-sure) - np.log(sure) + math.log(self.right_share) - math.log1p(-self.right_share)
        started = np.logaddexp(state[0], math.log(self.start_rate) + state[1]) + ratio
        return np.stack([started, state[1] + math.log1p(-self.start_rate)])

    def value(self, state: FloatArray) -> FloatArray:
        """See `RunningStatistic`."""
        return _of(np.logaddexp(state[0], state[1]))

    def log_evidence(self, value: FloatArray) -> FloatArray:
        """See `RunningStatistic`."""
        return _of(value)

    def above(self, threshold: float) -> str:
        """See `RunningStatistic`."""
        return f"the mixed likelihood ratio is above {math.exp(min(threshold, 700.0)):.4g}"


STATISTICS: Mapping[str, type[LowestStep] | type[RunningProduct] | type[MixedRatio]] = MappingProxyType(
    {kind.name: kind for kind in (LowestStep, RunningProduct, MixedRatio)}
)
"""By name; the first is the default."""


def statistic_to_json(statistic: RunningStatistic) -> dict[str, Any]:
    """Its name and its settings.

    >>> statistic_to_json(MixedRatio())
    {'name': 'mixed_ratio', 'right_share': 0.9, 'start_rate': 0.1}
    """
    return {"name": statistic.name} | asdict(cast(Any, statistic))


def statistic_from_json(values: Any) -> RunningStatistic:
    """What `statistic_to_json` gave.

    Raises:
        ValueError: no statistic has that name, or a setting is not one of its own or out of range.
    """
    if not isinstance(values, dict) or values.get("name") not in STATISTICS:
        raise ValueError(f"the statistic is {values!r}; allowed: an object whose name is {', '.join(STATISTICS)}")
    try:
        return STATISTICS[values["name"]](**{key: value for key, value in values.items() if key != "name"})
    except TypeError:
        raise ValueError(f"the statistic {values['name']} has no such settings: {values!r}") from None


def running_values(statistic: RunningStatistic, scores: npt.ArrayLike) -> FloatArray:
    """M after every step of solutions that are there whole.

    Args:
        statistic: which.
        scores: (..., T) in [0, 1], one solution a row, NaN where a step has no score or the solution has ended.

    Returns:
        (..., T): M, as it stood before where there is no score, −∞ before the first one.

    >>> running_values(LowestStep(), [0.9, np.nan, 0.4, 0.7]).tolist()
    [-0.9, -0.9, -0.4, -0.4]
    """
    scores_T = np.asarray(scores, dtype=np.float64)
    state = statistic.begin(scores_T.shape[:-1])
    value = np.full(scores_T.shape[:-1], -np.inf)
    values = np.empty(scores_T.shape)
    for t in range(scores_T.shape[-1]):
        state, value = step_on(statistic, state, value, scores_T[..., t])
        values[..., t] = value
    return values


def step_on(
    statistic: RunningStatistic, state: FloatArray, value: FloatArray, score: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """State and M after one more step; a step without a score (NaN) changes neither."""
    is_scored = ~np.isnan(score)
    new = statistic.after(state, np.where(is_scored, score, 0.5))
    return np.where(is_scored, new, state), np.where(is_scored, statistic.value(new), value)


def _of(values: FloatArray) -> FloatArray:
    return np.asarray(values, dtype=np.float64)

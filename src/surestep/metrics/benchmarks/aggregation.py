"""From the confidences of a solution's steps to one score of the solution.

Shapes: `M` solutions, `T` steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from surestep.metrics.columns import FloatArray

AGGREGATIONS: Mapping[str, Callable[[FloatArray], float]] = MappingProxyType(
    {
        "min": lambda steps: float(np.min(steps)),
        "product": lambda steps: float(np.prod(steps)),
        "mean": lambda steps: float(np.mean(steps)),
        "last": lambda steps: float(steps[-1]),
    }
)
"""Confidences of a solution's steps, shape [T], T above 0, to one score in [0, 1], by name."""

_OF_ROWS: Mapping[str, Callable[[FloatArray], FloatArray]] = MappingProxyType(
    {
        "min": lambda rows: np.min(rows, axis=1),
        "product": lambda rows: np.prod(rows, axis=1),
        "mean": lambda rows: np.mean(rows, axis=1),
        "last": lambda rows: rows[:, -1],
    }
)
"""The same of many solutions of equal length, [M, T] to [M]; to the digit."""

SCORE_WITHOUT_STEPS = 0.0
"""The score of a candidate without any scored step: it stays among the N, as the generator's draw that it is."""


def aggregate_all(solutions: Sequence[FloatArray], how: str) -> FloatArray:
    """`aggregate` of each of many solutions, (M,): those of one length together.

    >>> aggregate_all([np.array([0.5, 0.8]), np.array([]), np.array([0.25])], "product").tolist()
    [0.4, 0.0, 0.25]
    """
    scores = np.full(len(solutions), SCORE_WITHOUT_STEPS)
    lengths = np.array([len(steps) for steps in solutions], np.int64)
    for length in np.unique(lengths[lengths > 0]):
        places = np.flatnonzero(lengths == length)
        scores[places] = _OF_ROWS[how](np.stack([solutions[place] for place in places.tolist()]))
    return scores


def aggregate(steps: FloatArray, how: str) -> float:
    """One score of a solution from its steps' confidences.

    >>> aggregate(np.array([0.5, 0.8]), "product")
    0.4
    """
    return AGGREGATIONS[how](steps) if len(steps) else SCORE_WITHOUT_STEPS

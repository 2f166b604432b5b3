"""From the confidences of a solution's steps to one score of the solution.

Shapes: `T` steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

SCORE_WITHOUT_STEPS = 0.0
"""The score of a candidate without any scored step: it stays among the N, as the generator's draw that it is."""


def aggregate(steps: FloatArray, how: str) -> float:
    """One score of a solution from its steps' confidences.

    >>> aggregate(np.array([0.5, 0.8]), "product")
    0.4
    """
    return AGGREGATIONS[how](steps) if len(steps) else SCORE_WITHOUT_STEPS

"""What the cut-off is compared with: a score of every step that never rises from a step to the next.

So the kept part of a tree always holds every step before a kept one, and only shrinks as the cut-off grows. Knows
parents and confidences.

Legend: N nodes of one tree.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from surestep.arrays import FloatArray

ScoreName = Literal["product", "min"]
"""`product`: the running sum of the logarithms of calibrated confidences; `min`: the running minimum of raw ones."""

SCORES: tuple[ScoreName, ...] = get_args(ScoreName)

_SMALLEST = float(np.finfo(np.float64).tiny)
"""A confidence of 0 counts as this in a logarithm: it stays comparable, and −∞ stays for steps without a score."""


def path_scores(parent: npt.ArrayLike, confidence: npt.ArrayLike, score: ScoreName) -> FloatArray:
    """The score of every node, from the nodes up to it alone, shape (N,).

    Args:
        parent: shape (N,), the index of the node before each, below its own; −1 for a first step.
        confidence: shape (N,), in [0, 1]; NaN where the scorer gave none: that node and all behind it get −∞, so no
            cut-off keeps them.
        score: which.

    Returns:
        For `min` the smallest confidence so far; for `product` the sum of log confidences so far, at most 0.

    >>> path_scores([-1, 0, 0], [0.9, 0.5, 0.95], "min").tolist()
    [0.9, 0.5, 0.9]
    >>> np.exp(path_scores([-1, 0, 1], [0.5, 0.5, np.nan], "product")).tolist()
    [0.5, 0.25, 0.0]
    """
    values = np.asarray(confidence, dtype=np.float64)
    values = np.log(np.maximum(values, _SMALLEST)) if score == "product" else values
    own: list[float] = np.where(np.isnan(values), -np.inf, values).tolist()
    parents: list[int] = np.asarray(parent).tolist()
    if score == "product":
        for node, before in enumerate(parents):
            if before >= 0:
                own[node] += own[before]
    else:
        for node, before in enumerate(parents):
            if before >= 0:
                own[node] = min(own[node], own[before])
    return np.array(own, dtype=np.float64)


def as_confidence(g: float, score: ScoreName) -> float:
    """A score in [0, 1] as people read it: the product itself, not its logarithm; infinite ones stay.

    >>> as_confidence(0.25, "min"), round(as_confidence(-1.0, "product"), 3)
    (0.25, 0.368)
    """
    return float(np.exp(g)) if score == "product" and np.isfinite(g) else g

"""Weights under which a step's position says nothing of its label, so that a model gains nothing by counting steps.

Why not positions themselves: rotary positions enter attention as differences only, so a random offset of all of them
changes no number; and a causal model may count the `<CONFIDENCE>` tokens before a step whatever their positions are.

Knows positions and labels; knows no text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surestep.scored import FloatArray, IntArray
from surestep.scoring.training_set import TrainingSet

_PRIOR = 20.0
"""Labels at the overall mean that are added to each position's, so that few labels decide little."""


@dataclass(frozen=True)
class PositionBalance:
    """What the parts of a label count at each position: reweighing, after Kamiran and Calders (2012).

    With m the mean label and m_a that of position a, the right part of a label counts m / m_a and the wrong part
    (1 - m) / (1 - m_a): P(y) P(a) / P(y, a), which makes label and position independent under these weights.

    Attributes:
        right, wrong: float64 [A], by position from 0 (the problem, which has no label); the last one stands for every
            later position.
    """

    right: NDArray[np.float64]
    wrong: NDArray[np.float64]

    @classmethod
    def of(cls, position: IntArray, label: FloatArray) -> PositionBalance:
        """From the positions (from 1) and the labels of a dataset.

        >>> found = PositionBalance.of(np.array([1] * 4000 + [2] * 4000), np.array([1.0] * 3000 + [0.0] * 5000))
        >>> bool(found.right[1] < 1 < found.wrong[1]), bool(found.right[2] > 1 > found.wrong[2])
        (True, True)
        """
        count, total = np.bincount(position), np.bincount(position, label)
        mean = float(label.mean())
        own = (total + _PRIOR * mean) / (count + _PRIOR)
        return cls(_ratio(mean, own), _ratio(1.0 - mean, 1.0 - own))

    def apply(self, position: IntArray, label: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The labels and what they count, float64 [S] each, so that their loss is that of the two weighted parts.

        a y l(1) + b (1 - y) l(0) is (a y + b (1 - y)) times the loss with the label a y / (a y + b (1 - y)): for `bce`
        exactly, for `mse` but for a constant.
        """
        place = np.minimum(position, len(self.right) - 1)
        right, wrong = self.right[place] * label, self.wrong[place] * (1.0 - label)
        weight = right + wrong
        return np.divide(right, weight, out=np.zeros_like(weight), where=weight > 0.0), weight


def _ratio(overall: float, own: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of two shares; 1 where neither is there."""
    return np.divide(overall, own, out=np.ones_like(own), where=own > 0.0)


def position_balances(data: Mapping[str, TrainingSet]) -> dict[str, PositionBalance]:
    """Of each dataset, from the labels that it is trained on."""
    steps = {name: dataset.labelled_steps() for name, dataset in data.items()}
    return {name: PositionBalance.of(found.position, found.label) for name, found in steps.items()}

"""Predictors that read no text: a constant, and the mean label at a step's position.

A model that does not beat them has learned nothing worth its cost. Knows labels and positions only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from surestep.errors import DataError
from surestep.metrics.columns import FloatArray, check_unit_interval

POSITION_PSEUDO_COUNT = 10.0
"""How many steps' worth of the overall mean each position starts with."""


@dataclass(frozen=True)
class ConstantBaseline:
    """Mean training labels, the constants that a model must beat.

    Attributes:
        per_dataset: mean training label by dataset name, in [0, 1]; datasets not trained on are absent.
        overall: mean over all training labels, in [0, 1], or None where it is not known.

    Raises:
        DataError: a constant is outside [0, 1] or NaN.
    """

    per_dataset: Mapping[str, float] = field(default_factory=dict)
    overall: float | None = None

    def __post_init__(self) -> None:
        constants = dict(self.per_dataset)
        if self.overall is not None:
            constants["all datasets"] = self.overall
        for name, value in constants.items():
            if not 0.0 <= value <= 1.0:
                raise DataError(f"the constant baseline of {name} is {value}; allowed: 0 to 1, not NaN")

    @classmethod
    def from_labels(cls, labels: Mapping[str, npt.ArrayLike]) -> ConstantBaseline:
        """The means of the training labels, by dataset and of all of them together.

        Args:
            labels: training labels by dataset name, each in [0, 1]; a dataset without any is absent from
                the result.

        Raises:
            DataError: a label is outside [0, 1] or NaN.

        >>> ConstantBaseline.from_labels({"a": [1, 1, 1], "b": [0], "c": []})
        ConstantBaseline(per_dataset={'a': 1.0, 'b': 0.0}, overall=0.75)
        """
        columns = {name: np.asarray(values, dtype=np.float64) for name, values in labels.items()}
        columns = {name: values for name, values in columns.items() if values.size}
        for name, values in columns.items():
            check_unit_interval(f"{name} training label", values)
        if not columns:
            return cls()
        return cls(
            per_dataset={name: float(values.mean()) for name, values in columns.items()},
            overall=float(np.concatenate(list(columns.values())).mean()),
        )


def position_baseline(
    train_positions: npt.ArrayLike,
    train_labels: npt.ArrayLike,
    positions: npt.ArrayLike,
    *,
    pseudo_count: float = POSITION_PSEUDO_COUNT,
) -> FloatArray:
    """Mean training label at each position, drawn toward the overall mean where few steps stand.

    With n training steps of label sum s at a position, and m the mean of all training labels, the
    prediction is (s + k m) / (n + k), k the pseudo-count: the posterior mean under a Beta(k m, k (1 − m))
    prior. A position never seen in training gets m.

    Args:
        train_positions: shape (M,), whole numbers.
        train_labels: shape (M,), in [0, 1].
        positions: shape (N,), the steps to predict.
        pseudo_count: k, above 0, in steps.

    Returns:
        Shape (N,), in [0, 1].

    Raises:
        DataError: there is no training step, or a label is outside [0, 1].
        ValueError: the training arrays differ in shape, or k is not above 0.

    >>> position_baseline([1, 1, 2, 2], [1, 1, 0, 1], [1, 2, 9], pseudo_count=2).tolist()
    [0.875, 0.625, 0.75]
    """
    seen = np.asarray(train_positions, dtype=np.int64)
    label = np.asarray(train_labels, dtype=np.float64)
    wanted = np.asarray(positions, dtype=np.int64)
    if seen.shape != label.shape or not pseudo_count > 0:
        raise ValueError(f"positions {seen.shape}, labels {label.shape}, pseudo_count {pseudo_count}")
    if label.size == 0:
        raise DataError("the position baseline has no training label; allowed: at least one labelled step")
    check_unit_interval("training label", label)
    mean = float(label.mean())
    values, index = np.unique(seen, return_inverse=True)
    count = np.bincount(index)
    smoothed = (np.bincount(index, label) + pseudo_count * mean) / (count + pseudo_count)
    nearest = np.minimum(np.searchsorted(values, wanted), values.size - 1)
    # Rounding can carry a mean of ones a digit past 1.
    return np.clip(np.where(values[nearest] == wanted, smoothed[nearest], mean), 0.0, 1.0)

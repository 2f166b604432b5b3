"""Baselines that read no text: the mean label at each position, one constant, and the truth where it is known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from surestep.errors import DataError
from surestep.metrics.columns import FloatArray, bin_sums, check_unit_interval
from surestep.scored import ScoredSteps
from surestep.scoring.training_set import TrainingSet

POSITION_PSEUDO_COUNT = 10.0
"""How many steps' worth of the overall mean each position starts with."""


def predict_by_position(steps: ScoredSteps, training: Mapping[str, TrainingSet]) -> ScoredSteps:
    """The same steps, each with the mean training label at its position in its dataset."""
    confidence = steps.confidence.copy()
    for name, dataset in training.items():
        if name in steps.dataset_names:
            labelled = dataset.labelled_steps()
            ours = (steps.dataset == steps.dataset_names.index(name)) & ~np.isnan(confidence)
            confidence[ours] = position_baseline(labelled.position, labelled.label, steps.position[ours])
    return steps.with_confidence(confidence)


def predict_constant(steps: ScoredSteps, value: float) -> ScoredSteps:
    """The same steps, all with one confidence."""
    return steps.with_confidence(np.full(len(steps), value))


def predict_truth(steps: ScoredSteps) -> ScoredSteps:
    """The same steps with their true confidence: the best that any model can do.

    Raises:
        ValueError: it is not known for all of them.
    """
    if np.isnan(steps.true_confidence).any():
        raise ValueError("the true confidence of some steps is unknown")
    return steps.with_confidence(steps.true_confidence)


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
    evaluated = np.asarray(positions, dtype=np.int64)
    if seen.shape != label.shape or not pseudo_count > 0:
        raise ValueError(f"positions {seen.shape}, labels {label.shape}, pseudo_count {pseudo_count}")
    if label.size == 0:
        raise DataError("the position baseline has no training label; allowed: at least one labelled step")
    check_unit_interval("training label", label)
    mean = float(label.mean())
    values, index = np.unique(seen, return_inverse=True)
    count = bin_sums(index)
    smoothed = (bin_sums(index, label) + pseudo_count * mean) / (count + pseudo_count)
    nearest = np.minimum(np.searchsorted(values, evaluated), values.size - 1)
    # Rounding can carry a mean of ones a digit past 1.
    return np.clip(np.where(values[nearest] == evaluated, smoothed[nearest], mean), 0.0, 1.0)

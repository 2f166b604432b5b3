"""Baselines that read no text: the mean label at each position, one constant, and the truth where it is known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from surestep.metrics.baselines import position_baseline
from surestep.scored import ScoredSteps
from surestep.scoring.examples_in_use import TrainingSet


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

"""Steps whose true confidence is known, and models that report it distorted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from surestep.calibration import CalibrationData
from surestep.calibration.gain import FloatArray
from surestep.calibration.maps.logistic_fit import logit, sigmoid


def steps(
    *,
    num_problems: int = 200,
    steps_each: int = 20,
    seed: int = 0,
    distort: Callable[[FloatArray], FloatArray] = lambda p: p,
    dataset: str = "a",
    first_problem: int = 0,
    soft: bool = False,
) -> CalibrationData:
    """Problems of differing difficulty; the label is drawn with the true confidence, the model reports `distort` of it.

    With `soft` the label is the true confidence itself.
    """
    random = np.random.default_rng(seed)
    problem = np.repeat(np.arange(num_problems), steps_each)
    true = sigmoid(random.normal(0.5, 1.0, num_problems)[problem] + random.normal(0.0, 1.5, len(problem)))
    label = true if soft else (random.random(len(problem)) < true).astype(np.float64)
    return CalibrationData(
        confidence=distort(true),
        label=label,
        problem=first_problem + problem,
        dataset=np.zeros(len(problem), np.int64),
        dataset_names=(dataset,),
    )


def together(*parts: CalibrationData) -> CalibrationData:
    """Several datasets as one; their problems must have different numbers."""
    names = tuple(part.dataset_names[0] for part in parts)
    return CalibrationData(
        confidence=np.concatenate([part.confidence for part in parts]),
        label=np.concatenate([part.label for part in parts]),
        problem=np.concatenate([part.problem for part in parts]),
        dataset=np.concatenate([np.full(len(part), index) for index, part in enumerate(parts)]),
        dataset_names=names,
    )


def overconfident(temperature: float, shift: float = 0.0) -> Callable[[FloatArray], FloatArray]:
    """The distortion that `Platt(1 / temperature, -shift / temperature)` undoes."""
    return lambda p: sigmoid(temperature * logit(p) + shift)

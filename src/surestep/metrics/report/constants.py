"""Constants that a model must beat: the mean label of its training data, or of the labels evaluated.

Knows labels and datasets only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from surestep.errors import DataError
from surestep.metrics.columns import FloatArray
from surestep.scored import ScoredSteps

TRAINING_MEAN = "training_mean"
EVALUATED_MEAN = "evaluated_mean"


@dataclass(frozen=True)
class ConstantBaseline:
    """Mean training labels.

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


def constant_of(label: FloatArray, training_mean: float | None) -> tuple[float | None, str]:
    """The constant that stands for these steps, and where it comes from; None where there is no step either.

    >>> constant_of(np.array([0.0, 1.0]), None)
    (0.5, 'evaluated_mean')
    """
    if training_mean is not None:
        return training_mean, TRAINING_MEAN
    return (float(label.mean()) if label.size else None), EVALUATED_MEAN


def dataset_constants(steps: ScoredSteps, known: ConstantBaseline) -> tuple[FloatArray, dict[str, str]]:
    """The constant of each dataset, in the order of the names (0 without steps), and the source of those with steps."""
    constants: list[float] = []
    sources: dict[str, str] = {}
    for index, name in enumerate(steps.dataset_names):
        labels = steps.label[steps.dataset == index]
        constant, source = constant_of(labels, known.per_dataset.get(name))
        constants.append(0.0 if constant is None else constant)
        if labels.size:
            sources[name] = source
    return np.array(constants), sources

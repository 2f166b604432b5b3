"""Scored, labelled steps as calibration takes them, checked once.

Knows confidences, labels, and which problem and dataset a step belongs to. Knows no text, no file and no model.

Legend: N steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from surestep.arrays import BoolArray as BoolArray
from surestep.arrays import FloatArray as FloatArray
from surestep.arrays import IntArray as IntArray
from surestep.errors import DataError
from surestep.metrics.columns import bin_sums, weighted_mean
from surestep.metrics.figures.pointwise import step_nll


@dataclass(frozen=True, eq=False)
class CalibrationData:
    """Columns of equal length N, one row a labelled step.

    Attributes:
        confidence: float64 in [0, 1], the model's own, without any map.
        label: float64 in [0, 1], soft labels allowed.
        problem: int64; steps of one problem always fall in the same fold.
        dataset: int64, index into `dataset_names`.
        dataset_names: the datasets by name.
        weight: float64, at least 0, how often a step counts; left out: once.

    Raises:
        DataError: lengths differ, or a value is outside its range.
    """

    confidence: FloatArray
    label: FloatArray
    problem: IntArray
    dataset: IntArray
    dataset_names: tuple[str, ...]
    weight: FloatArray | None = None

    def __post_init__(self) -> None:
        for name in ("confidence", "label"):
            values = np.asarray(getattr(self, name), dtype=np.float64)
            object.__setattr__(self, name, values)
            inside = (values >= 0.0) & (values <= 1.0)  # false for NaN
            if not inside.all():
                row = int(np.argmin(inside))
                raise DataError(f"row {row} (counted from 0) has {name} {values[row]}; allowed: 0 to 1, not NaN")
        for name in ("problem", "dataset"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.int64))
        weight = np.ones(len(self)) if self.weight is None else np.asarray(self.weight, dtype=np.float64)
        object.__setattr__(self, "weight", weight)
        if not np.isfinite(weight).all() or (weight < 0).any():
            raise DataError("a weight is negative or not finite; allowed: 0 or more")
        shapes = {name: getattr(self, name).shape for name in ("confidence", "label", "problem", "dataset", "weight")}
        if len(set(shapes.values())) != 1 or len(shapes["label"]) != 1:
            raise DataError(f"columns of different shapes ({shapes}); allowed: one entry a step in each")

    def __len__(self) -> int:
        """N, the number of labelled steps."""
        return int(self.confidence.size)

    @property
    def weights(self) -> FloatArray:
        """The weight of each step."""
        assert self.weight is not None, "set when it was made"
        return self.weight

    @property
    def num_problems(self) -> int:
        """How many problems have a step here."""
        return int(np.unique(self.problem).size)

    def select(self, mask: BoolArray) -> Self:
        """The rows where `mask`, bool [N], is true."""
        return type(self)(
            confidence=self.confidence[mask],
            label=self.label[mask],
            problem=self.problem[mask],
            dataset=self.dataset[mask],
            dataset_names=self.dataset_names,
            weight=self.weights[mask],
        )

    def rows_of(self, dataset: str) -> BoolArray:
        """Which rows belong to a dataset, bool [N]."""
        rows: BoolArray = self.dataset == self.dataset_names.index(dataset)
        return rows


def nll(confidence: FloatArray, label: FloatArray, weights: FloatArray) -> float:
    """The weighted mean of `step_nll`, in nats a step.

    >>> round(nll(np.array([0.5, 0.5]), np.array([0.0, 0.5]), np.ones(2)), 6)
    0.693147
    """
    return weighted_mean(step_nll(confidence, label), weights)


def nll_gain(before: FloatArray, after: FloatArray, data: CalibrationData) -> tuple[float, float]:
    """By how much `after` lowers the NLL of `before`, and the standard error of that, both in nats a step.

    The steps are the same, so their differences are taken one by one; the error counts problems as independent, not
    steps (the linearised error of a ratio of sums over clusters; Cochran, Sampling Techniques, 1977, 9A.4).
    """
    gain_of_step = (step_nll(before, data.label) - step_nll(after, data.label)) * data.weights
    _, place = np.unique(data.problem, return_inverse=True)
    gains, sizes = bin_sums(place, gain_of_step), bin_sums(place, data.weights)
    mean = float(gains.sum() / sizes.sum())
    count = len(gains)
    variance = count / max(count - 1, 1) * float(np.sum((gains - mean * sizes) ** 2)) / float(sizes.sum()) ** 2
    return mean, float(np.sqrt(variance))

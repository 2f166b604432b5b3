"""Scored, labelled steps, the input of calibration, and by how much one confidence of theirs is better than another.

Knows confidences, labels, and which problem and dataset a step belongs to. Knows no text, no file and no model.

Legend: N steps; p confidence, y label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from surestep.arrays import BoolArray as BoolArray
from surestep.arrays import FloatArray as FloatArray
from surestep.arrays import IntArray as IntArray
from surestep.arrays import distinct
from surestep.errors import DataError
from surestep.metrics import equal_width_bins, step_nll

FIGURES = ("nll", "brier", "ece")
"""What a map is judged by; each is the mean over steps of a loss, lower is better (`step_losses`)."""

RANDOM_SIGNS = 1.5
"""Standard errors of the cross-fitted ECE are this much larger than with its signs taken as given: in simulations of
calibrated steps, where the signs are pure chance, its spread was 1.3 to 1.5 times that; with clear gaps 1.0 times."""


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
        return int(distinct(self.problem).size)

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


class Change(NamedTuple):
    """A figure before and after, on the same steps.

    Attributes:
        before, after: its values; lower is better.
        error: the standard error of their difference over problems.
    """

    before: float
    after: float
    error: float

    @property
    def rise(self) -> float:
        """After less before: above 0 is worse."""
        return self.after - self.before

    def to_json(self) -> dict[str, float]:
        """Plain values."""
        return {**self._asdict(), "rise": self.rise}


def step_losses(figure: str, confidence: FloatArray, data: CalibrationData, folds: IntArray) -> FloatArray:
    """What each step adds to a figure, [N]; the figure is the weighted mean of these.

    - `nll`: cross-entropy in nats.
    - `brier`: (p − y)², which is the Brier score where labels are 0 or 1; soft labels count as they are.
    - `ece`: ± (p − y), the sign that of the mean gap p − y of the step's bin in the *other* folds; bins of equal width,
      as in `surestep.metrics.ece`. The plain ECE takes the size of each gap, so noise alone makes it positive, and the
      more so the more bins are in use; here noise has no part in its own sign, and steps without any gap give 0 on
      average. A gap that is clear beside its noise counts in full, one within the noise for less.

    Args:
        figure: one of `FIGURES`.
        confidence: float64 [N], in [0, 1], out of fold.
        data: the steps' labels and weights.
        folds: int64 [N], from 0; whole problems.
    """
    label, weights = data.label, data.weights
    if figure == "nll":
        return step_nll(confidence, label)
    if figure == "brier":
        return np.asarray((confidence - label) ** 2)
    bins = equal_width_bins(confidence)
    num_bins = int(bins.max(initial=0)) + 1
    cell = folds * num_bins + bins
    num_folds = int(folds.max(initial=0)) + 1
    gaps = np.bincount(cell, weights * (confidence - label), minlength=num_folds * num_bins).reshape(
        num_folds, num_bins
    )
    elsewhere = np.sign(gaps.sum(axis=0) - gaps)
    return np.asarray(elsewhere[folds, bins] * (confidence - label))


def changes(before: FloatArray, after: FloatArray, data: CalibrationData, folds: IntArray) -> dict[str, Change]:
    """Every figure of `before` and of `after`, both [N] and out of fold, with the standard error of the difference."""
    found = {}
    for figure in FIGURES:
        old, new = (step_losses(figure, p, data, folds) for p in (before, after))
        rise, error = mean_and_error(new - old, data)
        error *= RANDOM_SIGNS if figure == "ece" else 1.0
        mean = float(np.sum(old * data.weights) / np.sum(data.weights))
        found[figure] = Change(mean, mean + rise, error)
    return found


def mean_and_error(values: FloatArray, data: CalibrationData) -> tuple[float, float]:
    """The weighted mean of values of steps [N], and its standard error with problems as independent, not steps.

    The steps of two scorers are the same, so their differences are taken one by one. The error is the linearised one of
    a ratio of sums over clusters (Cochran, Sampling Techniques, 1977, 9A.4).
    """
    _, place = np.unique(data.problem, return_inverse=True)
    sums, sizes = np.bincount(place, values * data.weights), np.bincount(place, data.weights)
    mean = float(sums.sum() / sizes.sum())
    count = len(sums)
    variance = count / max(count - 1, 1) * float(np.sum((sums - mean * sizes) ** 2)) / float(sizes.sum()) ** 2
    return mean, float(np.sqrt(variance))

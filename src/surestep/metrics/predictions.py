"""Scored, labelled steps as columns of numbers: what every report is made from.

Knows confidences, labels, and which dataset, problem and position a step belongs to. Knows no text,
no file and no model. Unlabelled steps are not in it: whoever builds it counts them.

Legend: N steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from surestep.errors import DataError
from surestep.metrics.columns import BoolArray, FloatArray, IntArray, check_unit_interval


@dataclass(frozen=True, eq=False)
class Predictions:
    """Columns of equal length N, one row a labelled step; copied and read-only once built.

    Attributes:
        confidence: float64 in [0, 1], what the scorer said.
        label: float64 in [0, 1], soft labels allowed, never NaN.
        dataset: index into `dataset_names`.
        dataset_names: the datasets by name, each once; one may have no row.
        problem: index of the problem, at least 0; one index never stands in two datasets.
        position: depth of the step along its path, from 1.
        true_confidence: P(label = 1 | text so far) in [0, 1] where it is known by construction, NaN
            elsewhere. Left out: unknown everywhere.
        raw_confidence: float64 in [0, 1], the score before a calibration map; figures that ask only for
            the order use it, since a map may tie what the scorer told apart. Left out: `confidence`.

    Raises:
        DataError: lengths differ, or a value is outside its range; the first offending row is named.

    >>> p = Predictions(
    ...     confidence=np.array([0.9, 0.2]), label=np.array([1.0, 0.5]), dataset=np.array([0, 1]),
    ...     dataset_names=("a", "b"), problem=np.array([0, 1]), position=np.array([1, 1]),
    ... )
    >>> len(p), len(p.for_dataset("b")), p.num_problems
    (2, 1, 2)
    """

    confidence: FloatArray
    label: FloatArray
    dataset: IntArray
    dataset_names: tuple[str, ...]
    problem: IntArray
    position: IntArray
    true_confidence: FloatArray = field(default_factory=lambda: np.empty(0))
    raw_confidence: FloatArray = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        num_steps = np.size(self.confidence)
        if np.size(self.true_confidence) == 0:
            object.__setattr__(self, "true_confidence", np.full(num_steps, np.nan))
        if np.size(self.raw_confidence) == 0:
            object.__setattr__(self, "raw_confidence", self.confidence)
        for name in ("confidence", "label", "true_confidence", "raw_confidence"):
            self._freeze(name, np.array(getattr(self, name), dtype=np.float64), num_steps)
        for name in ("dataset", "problem", "position"):
            self._freeze(name, _whole_numbers(name, getattr(self, name)), num_steps)
        object.__setattr__(self, "dataset_names", tuple(self.dataset_names))
        self._check_values()

    def _freeze(self, name: str, column: FloatArray | IntArray, num_steps: int) -> None:
        if column.shape != (num_steps,):
            raise DataError(
                f"predictions have {num_steps} confidences but {name} of shape {column.shape}; "
                f"allowed: shape ({num_steps},), one entry a step"
            )
        column.setflags(write=False)
        object.__setattr__(self, name, column)

    def _check_values(self) -> None:
        check_unit_interval("confidence", self.confidence, "a logit needs a sigmoid first")
        check_unit_interval("label", self.label, "leave unlabelled steps out")
        check_unit_interval("raw_confidence", self.raw_confidence, "a logit needs a sigmoid first")
        # NaN means unknown in this column only.
        known = np.where(np.isnan(self.true_confidence), 0.0, self.true_confidence)
        check_unit_interval("true_confidence", known)
        repeated = [n for n in self.dataset_names if self.dataset_names.count(n) > 1]
        if repeated:
            raise DataError(f"dataset_names holds {repeated[0]!r} more than once; allowed: each name once")
        _check_range("dataset", self.dataset, 0, len(self.dataset_names) - 1)
        _check_range("problem", self.problem, 0, None)
        _check_range("position", self.position, 1, None)
        row = _first_shared_problem(self.problem, self.dataset)
        if row is not None:
            raise DataError(
                f"prediction row {row} (counted from 0) has problem {self.problem[row]} in dataset "
                f"{self.dataset_names[self.dataset[row]]!r}, which another dataset uses too; allowed: an "
                "index of its own for every problem, over all datasets"
            )

    def __len__(self) -> int:
        """N, the number of labelled steps."""
        return int(self.confidence.size)

    @property
    def num_problems(self) -> int:
        """How many different problems have a labelled step."""
        return int(np.unique(self.problem).size)

    def select(self, mask: BoolArray) -> Self:
        """The rows where `mask`, shape (N,), is true; datasets and problems keep their numbers.

        Raises:
            ValueError: the mask is not boolean or not of length N.
        """
        if mask.dtype != np.bool_ or mask.shape != (len(self),):
            raise ValueError(f"mask is {mask.dtype} of shape {mask.shape}; needed: bool of ({len(self)},)")
        return type(self)(
            confidence=self.confidence[mask],
            label=self.label[mask],
            dataset=self.dataset[mask],
            dataset_names=self.dataset_names,
            problem=self.problem[mask],
            position=self.position[mask],
            true_confidence=self.true_confidence[mask],
            raw_confidence=self.raw_confidence[mask],
        )

    def with_confidence(self, confidence: FloatArray, raw_confidence: FloatArray | None = None) -> Self:
        """The same steps as another scorer, or a calibration map, judges them.

        Args:
            confidence: shape (N,), in [0, 1].
            raw_confidence: shape (N,), what orders the steps; `confidence` itself where left out, never
                the old scorer's.
        """
        raw = confidence if raw_confidence is None else raw_confidence
        return replace(self, confidence=confidence, raw_confidence=raw)

    def for_dataset(self, name: str) -> Self:
        """The rows of one dataset.

        Raises:
            DataError: no dataset has that name.
        """
        if name not in self.dataset_names:
            raise DataError(f"no dataset is named {name!r}; allowed: {', '.join(self.dataset_names) or 'none'}")
        return self.select(self.dataset == self.dataset_names.index(name))

    @classmethod
    def concatenate(cls, parts: Sequence[Predictions]) -> Self:
        """All rows of `parts`, in order; datasets of one name become one.

        The same problem index under the same dataset name is the same problem (pieces of one scoring
        run). Where an index stands under two names (parts numbered each from 0), all problems are
        numbered anew, so that they stay different problems.

        Raises:
            DataError: there is nothing to concatenate.
        """
        if not parts:
            raise DataError("there are no predictions to concatenate; allowed: at least one part")
        names = tuple(dict.fromkeys(name for part in parts for name in part.dataset_names))
        to_new = [np.array([names.index(n) for n in part.dataset_names], dtype=np.int64) for part in parts]
        dataset = np.concatenate([new[part.dataset] for new, part in zip(to_new, parts, strict=True)])
        problem = np.concatenate([part.problem for part in parts])
        if _first_shared_problem(problem, dataset) is not None:
            _, dense = np.unique(problem, return_inverse=True)
            # Dense first, so that the product cannot overflow whatever numbers a caller used.
            _, problem = np.unique(dataset * (int(dense.max()) + 1) + dense, return_inverse=True)
        return cls(
            confidence=np.concatenate([part.confidence for part in parts]),
            label=np.concatenate([part.label for part in parts]),
            dataset=dataset,
            dataset_names=names,
            problem=problem,
            position=np.concatenate([part.position for part in parts]),
            true_confidence=np.concatenate([part.true_confidence for part in parts]),
            raw_confidence=np.concatenate([part.raw_confidence for part in parts]),
        )


def _whole_numbers(name: str, values: IntArray) -> IntArray:
    """As int64; 1.5 or NaN are refused rather than cut to a whole number."""
    raw = np.array(values)
    if raw.size and not np.issubdtype(raw.dtype, np.integer):
        raise DataError(f"{name} is of type {raw.dtype}; allowed: whole numbers")
    return raw.astype(np.int64)


def _check_range(name: str, values: IntArray, least: int, greatest: int | None) -> None:
    wrong = values < least
    if greatest is not None:
        wrong |= values > greatest
    if wrong.any():
        row = int(np.argmax(wrong))
        allowed = f"at least {least}" if greatest is None else f"{least} to {greatest}"
        raise DataError(f"prediction row {row} (counted from 0) has {name} {values[row]}; allowed: {allowed}")


def _first_shared_problem(problem: IntArray, dataset: IntArray) -> int | None:
    """The first row whose problem index stood under another dataset before, or None."""
    order = np.argsort(problem, kind="stable")
    p, d = problem[order], dataset[order]
    differs = (p[1:] == p[:-1]) & (d[1:] != d[:-1])
    return int(order[1:][differs].min()) if differs.any() else None

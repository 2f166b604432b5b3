"""Steps in order of confidence under many weightings, sorted once: what every ranking figure is made of.

A bootstrap asks for a thousand weightings of one order. Each cumulative sum is made once for all ranking figures, and
only where one asks for it. Knows numbers only; a label of at least 0.5 counts as right.

Legend: N steps, D distinct confidences, U distinct labels, R weightings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from copy import copy
from functools import cached_property

import numpy as np

from surestep.metrics.columns import POSITIVE_LABEL, FloatArray, IntArray, bin_sums, distinct_and_places
from surestep.metrics.figures.bins import equal_mass_bins
from surestep.metrics.figures.cells import Cells, Counts

MOST_CELLS = 2**16


class RankedSteps:
    """Steps sorted by confidence, ties together.

    Args:
        confidence: shape (N,), in [0, 1]: what orders the steps.
        label: shape (N,), in [0, 1].
        problem: shape (N,), from 0: index into the counts.

    Attributes:
        width: N, how many steps weights are made for.

    >>> steps = RankedSteps(np.array([0.2, 0.9]), np.array([0.0, 1.0]), np.array([0, 1]))
    >>> steps.sums(np.array([[1.0, 3.0]])).all_steps.right
    array([[0., 3.]])
    """

    def __init__(self, confidence: FloatArray, label: FloatArray, problem: IntArray) -> None:
        order = np.argsort(confidence, kind="stable")
        self.problem = problem[order]
        self.labels, self.label_index = distinct_and_places(label[order])
        self._sorted = confidence[order]
        self.starts = _starts(self._sorted)

    @property
    def width(self) -> int:
        """How many steps weights are made for."""
        return self.problem.size

    def merged(self, most_groups: int) -> RankedSteps:
        """The same steps with neighbouring confidences merged, as if they were equal, into about equal groups.

        Several times faster where there are many distinct confidences, and the figures move a little. These steps
        themselves where they have no more than `most_groups` distinct confidences.
        """
        if self.starts.size <= most_groups:
            return self
        steps = copy(self)
        steps.starts = _starts(equal_mass_bins(self._sorted, most_groups))
        return steps

    def in_cells(self) -> RankedSteps | RankedCells:
        """The same steps added up by label and confidence, which is all that the figures ask for.

        A draw then costs one sum over the steps, and the rest over the cells: few where labels take few values. These
        steps themselves where there would be more cells than steps, or than `MOST_CELLS`.
        """
        num_groups, size = self.starts.size, self.problem.size
        if self.labels.size * num_groups > min(size, MOST_CELLS):
            return self
        is_start = np.zeros(size, np.int64)
        is_start[self.starts[1:]] = 1
        cells = Cells(self.problem, self.label_index * num_groups + np.cumsum(is_start), self.labels.size * num_groups)
        return RankedCells(cells, self.labels)

    def sums(self, counts: FloatArray) -> RankSums:
        """What the figures are made of when problem g counts `counts[r, g]` times, counts of shape (R, G)."""
        return StepSums(self, counts[:, self.problem])

    def in_parts(self, counts: Counts, rows: int) -> Iterator[RankSums]:
        """The same of `rows` draws at a time."""
        for start in range(0, len(counts.values), rows):
            yield self.sums(np.asarray(counts.values[start : start + rows], np.float64))


class RankedCells:
    """Sorted steps added up: a cell for each label and each confidence, those of a label side by side.

    Args:
        cells: U times D of them.
        labels: shape (U,), ascending.
    """

    def __init__(self, cells: Cells, labels: FloatArray) -> None:
        self._cells, self.labels = cells, labels

    @property
    def width(self) -> int:
        """How many cells weights are made for."""
        return len(self._cells)

    def sums(self, counts: FloatArray) -> RankSums:
        """The same as of steps; counts are whole numbers."""
        return next(self.in_parts(Counts(counts), len(counts)))

    def in_parts(self, counts: Counts, rows: int) -> Iterator[RankSums]:
        """The same of `rows` draws at a time."""
        weights = self._cells.sums(counts).reshape(len(counts.values), self.labels.size, -1)
        for start in range(0, len(weights), rows):
            yield CellSums(weights[start : start + rows], self.labels)


class RankSums(ABC):
    """Weights of the steps by distinct confidence, ascending, for R weightings at once."""

    labels: FloatArray
    """The distinct labels, ascending, (U,)."""

    def __init__(self) -> None:
        self._made: dict[Callable[..., FloatArray], FloatArray] = {}

    def once(self, formula: Callable[[RankSums], FloatArray]) -> FloatArray:
        """`formula` of these sums, which several figures ask for."""
        if formula not in self._made:
            self._made[formula] = formula(self)
        return self._made[formula]

    @property
    @abstractmethod
    def mass(self) -> FloatArray:
        """Weight at each distinct confidence, (R, D)."""

    @property
    @abstractmethod
    def all_steps(self) -> Classes:
        """Right and wrong steps."""

    @property
    @abstractmethod
    def without_half(self) -> Classes:
        """Right and wrong steps among those whose label is not exactly 0.5."""

    @property
    @abstractmethod
    def loss(self) -> FloatArray:
        """Weight times 1 − label at each distinct confidence, (R, D)."""

    @property
    @abstractmethod
    def by_label(self) -> FloatArray:
        """Weight of each distinct label, ascending, (R, U)."""

    @abstractmethod
    def of_labels(self, values: FloatArray) -> FloatArray:
        """Weight times `values`, (R, U), of the step's label at each distinct confidence, (R, D)."""


class StepSums(RankSums):
    """Of sorted steps and their weights, (R, N)."""

    def __init__(self, steps: RankedSteps, weights: FloatArray) -> None:
        super().__init__()
        self.labels, self._index, self._starts, self._weights = steps.labels, steps.label_index, steps.starts, weights

    def _by_confidence(self, values: FloatArray) -> FloatArray:
        """`values` of the steps, (R, N), added up by distinct confidence: (R, D)."""
        return values if self._starts.size == values.shape[1] else np.add.reduceat(values, self._starts, axis=1)

    @cached_property
    def _positive(self) -> FloatArray:
        return (self.labels >= POSITIVE_LABEL).astype(np.float64)[self._index]

    @cached_property
    def mass(self) -> FloatArray:
        return self._by_confidence(self._weights)

    @cached_property
    def all_steps(self) -> Classes:
        right = self._by_confidence(self._weights * self._positive)
        return Classes(right, self.mass - right)

    @cached_property
    def without_half(self) -> Classes:
        half = self.labels == POSITIVE_LABEL
        if not half.any():
            return self.all_steps
        not_half = (~half).astype(np.float64)[self._index]
        right = self._by_confidence(self._weights * (self._positive * not_half))
        return Classes(right, self._by_confidence(self._weights * not_half) - right)

    @cached_property
    def loss(self) -> FloatArray:
        if np.isin(self.labels, (0.0, 1.0)).all():
            return self.all_steps.wrong
        return self._by_confidence(self._weights * (1.0 - self.labels)[self._index])

    @cached_property
    def by_label(self) -> FloatArray:
        return np.stack([bin_sums(self._index, row, self.labels.size) for row in self._weights])

    def of_labels(self, values: FloatArray) -> FloatArray:
        return self._by_confidence(self._weights * values[:, self._index])


class CellSums(RankSums):
    """Of cells and their weights, (R, U, D)."""

    def __init__(self, weights: FloatArray, labels: FloatArray) -> None:
        super().__init__()
        self._weights, self.labels = weights, labels

    @cached_property
    def mass(self) -> FloatArray:
        return np.asarray(self._weights.sum(axis=1))

    @cached_property
    def all_steps(self) -> Classes:
        right = self._weights[:, self.labels >= POSITIVE_LABEL].sum(axis=1)
        return Classes(right, self.mass - right)

    @cached_property
    def without_half(self) -> Classes:
        half = self.labels == POSITIVE_LABEL
        if not half.any():
            return self.all_steps
        return Classes(self.all_steps.right - self._weights[:, half].sum(axis=1), self.all_steps.wrong)

    @cached_property
    def loss(self) -> FloatArray:
        if np.isin(self.labels, (0.0, 1.0)).all():
            return self.all_steps.wrong
        return self.of_labels((1.0 - self.labels)[None, :])

    @cached_property
    def by_label(self) -> FloatArray:
        return np.asarray(self._weights.sum(axis=2))

    def of_labels(self, values: FloatArray) -> FloatArray:
        total = np.zeros_like(self.mass)
        for number in range(self.labels.size):
            total += self._weights[:, number] * values[:, number, None]
        return total


class Classes:
    """Weight of right and of wrong steps at each distinct confidence, ascending, each (R, D)."""

    def __init__(self, right: FloatArray, wrong: FloatArray) -> None:
        self.right, self.wrong = right, wrong

    @cached_property
    def right_until(self) -> FloatArray:
        """Right steps at this confidence or below."""
        return np.asarray(np.cumsum(self.right, axis=1))

    @cached_property
    def wrong_until(self) -> FloatArray:
        """Wrong steps at this confidence or below."""
        return np.asarray(np.cumsum(self.wrong, axis=1))

    @property
    def all_right(self) -> FloatArray:
        """All right steps, (R,)."""
        return self.right_until[:, -1]

    @property
    def all_wrong(self) -> FloatArray:
        """All wrong steps, (R,)."""
        return self.wrong_until[:, -1]


def _starts(ascending: FloatArray | IntArray) -> IntArray:
    """Where each run of equal values begins."""
    if not ascending.size:
        return np.empty(0, np.int64)
    starts: IntArray = np.flatnonzero(np.concatenate(([True], ascending[1:] != ascending[:-1]))).astype(np.int64)
    return starts

"""Steps in order of confidence under many weightings, sorted once: what every ranking figure is made of.

A bootstrap asks for a thousand weightings of one order. Each cumulative sum is made once for all ranking figures, and
only where one asks for it. Knows numbers only; a label of at least 0.5 counts as right.

Legend: N steps, D distinct confidences, U distinct labels, R weightings.
"""

from __future__ import annotations

from copy import copy
from functools import cached_property

import numpy as np

from surestep.metrics.columns import POSITIVE_LABEL, FloatArray, IntArray, bin_sums
from surestep.metrics.figures.bins import equal_mass_bins


class RankedSteps:
    """Steps sorted by confidence, ties together.

    Args:
        confidence: shape (N,), in [0, 1]: what orders the steps.
        label: shape (N,), in [0, 1].
        problem: shape (N,), from 0: index into the counts.

    >>> steps = RankedSteps(np.array([0.2, 0.9]), np.array([0.0, 1.0]), np.array([0, 1]))
    >>> steps.sums(np.array([[1.0, 3.0]])).all_steps.right
    array([[0., 3.]])
    """

    def __init__(self, confidence: FloatArray, label: FloatArray, problem: IntArray) -> None:
        order = np.argsort(confidence, kind="stable")
        self.problem = problem[order]
        self.labels, label_index = np.unique(label[order], return_inverse=True)
        self._sorted = confidence[order]
        self.cells: IntArray | None = None
        self._set(label_index, _starts(self._sorted))

    def _set(self, label_index: IntArray, starts: IntArray) -> None:
        """What weights belong to: steps, or cells of steps, each with a label; and where each confidence begins."""
        y = self.labels[label_index]
        self.label_index, self.starts = label_index, starts
        self.positive = (y >= POSITIVE_LABEL).astype(np.float64)
        half = y == POSITIVE_LABEL
        self.not_half = (~half).astype(np.float64) if half.any() else None
        self.loss = None if np.isin(self.labels, (0.0, 1.0)).all() else 1.0 - y

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

    def in_cells(self) -> RankedSteps:
        """The same steps added up by confidence and label, which is all that the figures ask for.

        A draw then costs one sum over the steps, and the rest over the cells: few where labels take few values. These
        steps themselves where there are nearly as many cells as steps.
        """
        group = np.zeros(self._sorted.size, np.int64)
        group[self.starts[1:]] = 1
        cell = np.cumsum(group) * self.labels.size + self.label_index
        order = np.argsort(cell, kind="stable")
        first = _starts(cell[order])
        if 2 * first.size > cell.size:
            return self
        steps = copy(self)
        steps.problem, steps.cells = self.problem[order], first
        group_of_cell, label_index = np.divmod(cell[order][first], self.labels.size)
        steps._set(label_index, _starts(group_of_cell))
        return steps

    def sums(self, counts: FloatArray) -> RankSums:
        """What the figures are made of when problem g counts `counts[r, g]` times, counts of shape (R, G)."""
        weights = counts[:, self.problem]
        return RankSums(self, weights if self.cells is None else np.add.reduceat(weights, self.cells, axis=1))


class RankSums:
    """Weights of the steps by distinct confidence, ascending, for R weightings at once."""

    def __init__(self, steps: RankedSteps, weights: FloatArray) -> None:
        self.steps, self.weights = steps, weights

    def by_confidence(self, values: FloatArray) -> FloatArray:
        """`values` of the steps, (R, N), added up by distinct confidence: (R, D)."""
        starts = self.steps.starts
        return values if starts.size == values.shape[1] else np.add.reduceat(values, starts, axis=1)

    @cached_property
    def mass(self) -> FloatArray:
        """Weight at each distinct confidence, (R, D)."""
        return self.by_confidence(self.weights)

    @cached_property
    def all_steps(self) -> Classes:
        """Right and wrong steps."""
        right = self.by_confidence(self.weights * self.steps.positive)
        return Classes(right, self.mass - right)

    @cached_property
    def without_half(self) -> Classes:
        """Right and wrong steps among those whose label is not exactly 0.5."""
        not_half = self.steps.not_half
        if not_half is None:
            return self.all_steps
        right = self.by_confidence(self.weights * (self.steps.positive * not_half))
        return Classes(right, self.by_confidence(self.weights * not_half) - right)

    @cached_property
    def loss(self) -> FloatArray:
        """Weight times 1 − label at each distinct confidence, (R, D)."""
        if self.steps.loss is None:
            return self.all_steps.wrong
        return self.by_confidence(self.weights * self.steps.loss)

    @cached_property
    def by_label(self) -> FloatArray:
        """Weight of each distinct label, ascending, (R, U)."""
        return np.stack([bin_sums(self.steps.label_index, row, self.steps.labels.size) for row in self.weights])


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

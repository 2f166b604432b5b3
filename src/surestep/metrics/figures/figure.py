"""What a figure is: its words, and one formula that serves its plain value, its weighted value and its draws.

A figure is a function of how often each problem counts. Most are made of sums over steps; rankings need the steps in
order; anything else is `Weighted`. Knows no figure in particular.

Legend: N steps, E entries of a column, G problems, R draws, B bins, K columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from surestep.metrics.bootstrap.inversion import Inverted
from surestep.metrics.columns import (
    BoolArray,
    FloatArray,
    IntArray,
    UndefinedFigureError,
    bin_sums,
    check_columns,
    distinct_and_places,
)
from surestep.metrics.figures.rank_sums import RankedSteps, RankSums

Totals = Mapping[str, FloatArray]
"""Sums by name: the plain ones () or (B,), those of draws (R,) or (R, B). Formulas use trailing axes, so serve both."""


@dataclass(frozen=True, eq=False, slots=True)
class Column:
    """What each step adds to a sum, or to the sum of its bin.

    Attributes:
        values: shape (N,), or (E,) where `steps` says which step each entry belongs to.
        bins: the bin of each entry, from 0; None for one sum over all.
        num_bins: B.
        where: which entries count; all where left out.
        steps: shape (E,), the step of each entry, where a step has several.
    """

    values: FloatArray
    bins: IntArray | None = None
    num_bins: int = 1
    where: BoolArray | None = None
    steps: IntArray | None = None

    def total(self, weights: FloatArray | None) -> FloatArray:
        """The sum over all steps, each counted `weights`, (N,), times, or once: () or (B,)."""
        values = self.values
        if weights is not None:
            values = values * (weights if self.steps is None else weights[self.steps])
        if self.where is not None:
            values = values[self.where]
        return np.asarray(values.sum()) if self.bins is None else bin_sums(self.bin_of_each(), values, self.num_bins)

    def by_problem(self, problem: IntArray, num_problems: int) -> FloatArray:
        """The sum over each problem's steps; `problem` has shape (N,); the result (G, B)."""
        owner = problem if self.steps is None else problem[self.steps]
        values = self.values
        if self.where is not None:
            owner, values = owner[self.where], values[self.where]
        if self.bins is None:
            return bin_sums(owner, values, num_problems)[:, None]
        sums = bin_sums(owner * self.num_bins + self.bin_of_each(), values, num_problems * self.num_bins)
        return sums.reshape(num_problems, self.num_bins)

    def bin_of_each(self) -> IntArray:
        """The bin of each entry that counts."""
        bins = np.zeros(self.values.size, np.int64) if self.bins is None else self.bins
        return bins if self.where is None else bins[self.where]


@dataclass(frozen=True, slots=True)
class OfProblem:
    """What each problem adds, bin by bin: a function of what two columns come to in it.

    Attributes:
        first, second: names of columns of the same figure, with one entry a step and the same bins.
        combine: of the two sums; 0 where both are 0.
    """

    first: str
    second: str
    combine: Callable[[FloatArray, FloatArray], FloatArray] = np.multiply


Columns = Mapping[str, Column | OfProblem]


@dataclass(frozen=True, slots=True)
class Sums:
    """A figure made of sums over steps.

    Attributes:
        columns: (confidence, label, weights) -> what each step adds, by name. Weights serve to place bins and to
            centre; they are all 1 but for a weighted value.
        value: the figure from the sums; NaN where it has none.
        invert: for a calibration error: its interval from the plain sums and those of the draws. None: the middle of
            the draws.
    """

    columns: Callable[[FloatArray, FloatArray, FloatArray], Columns]
    value: Callable[[Totals], FloatArray]
    invert: Callable[[Totals, Totals], Inverted] | None = None


@dataclass(frozen=True, slots=True)
class Ranks:
    """A figure that asks only for the order of the steps; `value` is NaN where it has none."""

    value: Callable[[RankSums], FloatArray]


@dataclass(frozen=True, slots=True)
class Weighted:
    """Any other figure, as a function of confidence, label and weights (all above 0), each (N,): right, and slow.

    NaN, or an `UndefinedFigureError`, where it has no value.
    """

    value: Callable[[FloatArray, FloatArray, FloatArray], float]


def _no_reason(confidence: FloatArray, label: FloatArray) -> str:
    return "it has no value on these steps"


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of merit: everything that a report, a table, a comparison and a target know of it.

    Attributes:
        name: its key in `eval_metrics.json`.
        title: how it is called where people read it.
        direction: whether a lower or a higher value is better, or neither.
        kind: how it is computed and resampled.
        range: the least and the greatest value it can have; intervals are kept within.
        meaning: one sentence for who never met it.
        note: how exactly it is made, for the notes of a report; "" where `meaning` says it all.
        reads: the calibrated confidence, or the raw one: a map may tie what the scorer told apart.
        undefined: (confidence, label) -> why it has no value where it has none.
        in_tables: whether printed tables have a column for it; all figures stand in `eval_metrics.json`.
    """

    name: str
    title: str
    direction: Literal["lower", "higher", "none"]
    kind: Sums | Ranks | Weighted
    range: tuple[float, float] = (-np.inf, np.inf)
    meaning: str = ""
    note: str = ""
    reads: Literal["confidence", "raw_confidence"] = "confidence"
    undefined: Callable[[FloatArray, FloatArray], str] = field(default=_no_reason)
    in_tables: bool = True

    def __call__(
        self,
        confidence: npt.ArrayLike,
        label: npt.ArrayLike,
        weights: npt.ArrayLike | None = None,
        *,
        problem: npt.ArrayLike | None = None,
    ) -> float:
        """The figure of these steps.

        Args:
            confidence: shape (N,), in [0, 1].
            label: shape (N,), in [0, 1]; soft labels allowed.
            weights: shape (N,), how often each step counts; once where left out.
            problem: shape (N,), which problem a step belongs to, for the figures that ask (`rms_calibration_error`):
                each step is its own where left out. Not together with `weights`.

        Raises:
            DataError: a confidence or label is outside [0, 1] or NaN.
            UndefinedFigureError: the figure has no value here.
        """
        return self.of(PlainSteps(confidence, label, weights, problem=problem))

    def of(self, steps: PlainSteps) -> float:
        """The figure of steps that several figures share; raises as a call does."""
        p, y, weights = steps.confidence, steps.label, steps.weights
        ones = np.ones(p.shape) if weights is None else weights
        if isinstance(self.kind, Sums):
            columns = self.kind.columns(p, y, ones)
            value = float(self.kind.value(plain_totals(columns, weights, steps.problem)))
        elif isinstance(self.kind, Ranks):
            value = float(self.kind.value(steps.ranked)[0])
        else:
            value = float(self.kind.value(p, y, ones))
        if np.isnan(value):
            raise UndefinedFigureError(self.undefined(p, y))
        return value

    def is_better(self, value: float, than: float) -> bool:
        """Whether `value` is better; never where neither direction is.

        >>> Figure("x", "X", "higher", Weighted(lambda p, y, w: 0.0)).is_better(0.5, than=0.25)
        True
        """
        return value > than if self.direction == "higher" else value < than if self.direction == "lower" else False


class PlainSteps:
    """Checked steps of plain values, sorted at most once for all the figures that ask for it.

    Args: as of a call of a `Figure`, which they raise for.
    """

    def __init__(
        self,
        confidence: npt.ArrayLike,
        label: npt.ArrayLike,
        weights: npt.ArrayLike | None = None,
        *,
        problem: npt.ArrayLike | None = None,
    ) -> None:
        if problem is not None and weights is not None:
            raise ValueError("either weights or problems")
        self.confidence, self.label, checked = check_columns(confidence, label, weights)
        self.weights = None if weights is None else checked
        self.problem: IntArray | None = None
        if problem is not None:
            self.problem = distinct_and_places(np.asarray(problem))[1]

    @cached_property
    def ranked(self) -> RankSums:
        """The steps in order of confidence, one weighting."""
        size = self.confidence.size
        steps = RankedSteps(self.confidence, self.label, np.arange(size, dtype=np.int64))
        return steps.sums((np.ones(size) if self.weights is None else self.weights)[None, :])


def plain_totals(columns: Columns, weights: FloatArray | None, problem: IntArray | None) -> Totals:
    """The sum of each column, every step counted `weights` times or once; `problem` None: each step is its own."""
    sums = SumsOfPairs(problem)
    return {name: _plain_total(columns, name, weights, sums) for name in columns}


def _plain_total(columns: Columns, name: str, weights: FloatArray | None, sums: SumsOfPairs) -> FloatArray:
    column = columns[name]
    if isinstance(column, Column):
        return column.total(weights)
    first, second = _operand(columns, column.first), _operand(columns, column.second)
    if sums.problem is None:
        added = column.combine(first.values, second.values)
        return bin_sums(first.bin_of_each(), added if weights is None else added * weights, first.num_bins)
    _, bins, added = problem_entries(columns, name, sums)
    return bin_sums(bins, added, first.num_bins)


class SumsOfPairs:
    """Steps added up by problem and bin, where a step is: the pairs are found once for columns of the same bins.

    Args:
        problem: shape (N,), from 0; None where no column is summed by problem.
    """

    def __init__(self, problem: IntArray | None) -> None:
        self.problem = problem
        self._last: tuple[object, int, IntArray, IntArray] | None = None

    def pairs(self, column: Column) -> tuple[IntArray, IntArray]:
        """Problem times B plus bin of each pair that has an entry, ascending; and which pair each entry is of."""
        is_plain = column.bins is not None and column.where is None and column.steps is None
        if is_plain and self._last is not None and self._last[0] is column.bins and self._last[1] == column.num_bins:
            return self._last[2:]
        assert self.problem is not None
        owner = self.problem if column.steps is None else self.problem[column.steps]
        owner = owner if column.where is None else owner[column.where]
        found = distinct_and_places(owner * column.num_bins + column.bin_of_each())
        if is_plain:
            self._last = column.bins, column.num_bins, *found
        return found


def problem_entries(columns: Columns, name: str, sums: SumsOfPairs) -> tuple[IntArray, IntArray, FloatArray]:
    """What each problem adds to each bin in which it has a step, since most have few: problem, bin, sum; (E,) each."""
    column = columns[name]
    first = column if isinstance(column, Column) else _operand(columns, column.first)
    pairs, pair = sums.pairs(first)
    if isinstance(column, Column):
        values = column.values if column.where is None else column.values[column.where]
        added = bin_sums(pair, values, pairs.size)
    else:
        second = _operand(columns, column.second)
        added = column.combine(bin_sums(pair, first.values, pairs.size), bin_sums(pair, second.values, pairs.size))
    return pairs // first.num_bins, pairs % first.num_bins, np.asarray(added, np.float64)


def problem_table(columns: Columns, name: str, problem: IntArray, num_problems: int) -> FloatArray:
    """What each problem adds to the sums of one column: (G, B)."""
    column = columns[name]
    if isinstance(column, Column):
        return column.by_problem(problem, num_problems)
    first, second = (_operand(columns, key).by_problem(problem, num_problems) for key in (column.first, column.second))
    return np.asarray(column.combine(first, second), dtype=np.float64)


def width_of(columns: Columns, name: str) -> int:
    """B of a column; 1 for one sum over all."""
    column = columns[name]
    return column.num_bins if isinstance(column, Column) else _operand(columns, column.first).num_bins


def is_binned(columns: Columns, name: str) -> bool:
    """Whether the sums of a column have an axis of bins."""
    column = columns[name]
    return (column if isinstance(column, Column) else _operand(columns, column.first)).bins is not None


def _operand(columns: Columns, name: str) -> Column:
    column = columns[name]
    assert isinstance(column, Column), f"{name} is no sum over steps"
    assert column.steps is None, f"{name} has several entries a step"
    assert column.where is None, f"{name} leaves steps out"
    return column


def mean_of(
    values: Callable[[FloatArray, FloatArray], FloatArray],
    *,
    where: Callable[[FloatArray, FloatArray], BoolArray] | None = None,
) -> Sums:
    """The mean of `values(confidence, label)`, among the steps `where` or all; undefined where there are none.

    >>> bias_of_right = Figure("x", "X", "none", mean_of(lambda p, y: p - y, where=lambda p, y: y == 1.0))
    >>> bias_of_right([0.5, 0.75, 0.1], [1.0, 1.0, 0.0])
    -0.375
    """

    def columns(p: FloatArray, y: FloatArray, w: FloatArray) -> Columns:
        counted = None if where is None else where(p, y)
        return {
            "sum": Column(np.asarray(values(p, y), np.float64), where=counted),
            "steps": Column(np.ones(p.shape), where=counted),
        }

    return Sums(columns, lambda sums: ratio(sums["sum"], sums["steps"]))


def ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    """`above` / `below`, NaN where nothing is below.

    >>> ratio(np.array([3.0, 0.0]), np.array([2.0, 0.0]))
    array([1.5, nan])
    """
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    result = np.full(np.broadcast(above, below).shape, np.nan)
    np.divide(above, below, out=result, where=below > 0.0)
    return result

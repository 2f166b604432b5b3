"""Figures of scored steps: plain values, and the same figures under draws of problems that several measures share.

What each problem adds to the sums of all figures of all measures lies side by side in one table, so that a block of
draws is one matrix product; rankings reweigh steps that are sorted once. Knows no figure in particular.

Legend: N steps, G problems, R draws, K columns of the table, B bins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from surestep.metrics.bootstrap.draws import Draws
from surestep.metrics.bootstrap.interval import Interval, inverted, percentile
from surestep.metrics.columns import FloatArray, UndefinedFigureError
from surestep.metrics.figures import FIGURES
from surestep.metrics.figures.figure import (
    Column,
    Columns,
    Figure,
    OfProblem,
    Ranks,
    Sums,
    Totals,
    Weighted,
    is_binned,
    plain_total,
    problem_table,
    width_of,
)
from surestep.metrics.figures.rank_sums import RankedSteps, RankSums
from surestep.scored import ScoredSteps

MOST_GROUPS = 4096
"""How finely draws tell confidences apart. AUROC moves by less than 1 / groups² from it, before it is shifted back."""
_ENTRIES_AT_ONCE = 2**17
_TABLE_ENTRIES = 2**24
"""128 MiB of what problems add; a wider table is taken in slices of columns."""

NO_STEPS = "there are no labelled steps"


class Measure:
    """Some steps and some figures, made ready: the plain values at once, draws and intervals after `resample`.

    Args:
        steps: with label and confidence in every row (`ScoredSteps.measured`); problems numbered as in the draws, so
            that a selection of the steps drawn (`ScoredSteps.select`) is measured on the very same draws.
        figures: which; all of `FIGURES` where left out.
        num_problems: G of the draws; every problem's number lies below it.
        most_groups: rankings merge neighbouring confidences into this many groups in draws, for speed.

    Attributes:
        values: the figures by name; None where undefined.
        undefined: why, by name.

    >>> steps = ScoredSteps.of_columns([0.0, 1.0, 0.5], [0.0, 1.0, 1.0])
    >>> mse = Measure(steps, [FIGURES["mse"]], num_problems=3)
    >>> resample([mse], Draws(3, resamples=2, seed=1))
    >>> round(mse.values["mse"], 4), mse.draws("mse").round(4).tolist()
    (0.0833, [0.0833, 0.0])
    """

    def __init__(
        self,
        steps: ScoredSteps,
        figures: Iterable[Figure] | None = None,
        *,
        num_problems: int,
        most_groups: int = MOST_GROUPS,
    ) -> None:
        self.steps = steps
        self.figures = {figure.name: figure for figure in (FIGURES.values() if figures is None else figures)}
        self.values: dict[str, float | None] = {}
        self.undefined: dict[str, str] = {}
        self.most_groups = most_groups
        self._num_problems = num_problems
        self._ranked: dict[str, RankedSteps] = {}
        self._ones: dict[str, RankSums] = {}
        self._columns: dict[str, Columns] = {}
        self._arrays: dict[tuple[str, tuple[int, ...], bytes], Any] = {}
        self._totals: dict[str, Totals] = {}
        self._drawn: dict[str, Totals] = {}
        self._draws: dict[str, FloatArray] = {}
        if len(steps) and int(steps.problem.max()) >= num_problems:
            raise ValueError(f"problem {steps.problem.max()} of {num_problems}: number problems densely first")
        self._measure()

    def draws(self, name: str) -> FloatArray:
        """The figure under each draw, (R,); NaN where it has no value there.

        Raises:
            KeyError: the figure is not among these, or `resample` was not called.
        """
        return self._draws[name]

    def interval(self, name: str) -> Interval | None:
        """The figure's 95 % interval, within its range; None where it has no value or nothing was drawn."""
        if self.values[name] is None or name not in self._draws:
            return None
        figure = self.figures[name]
        if isinstance(figure.kind, Sums) and figure.kind.invert is not None:
            found = inverted(figure.kind.invert(self._totals[name], self._drawn[name]))
        else:
            found = percentile(self._draws[name])
        return found.clipped(*figure.range)

    def _read(self, figure: Figure) -> FloatArray:
        return self.steps.raw_confidence if figure.reads == "raw_confidence" else self.steps.confidence

    def _measure(self) -> None:
        for name, figure in self.figures.items():
            value = self._plain(name, figure) if len(self.steps) else np.nan
            self.values[name] = None if np.isnan(value) else value
            if self.values[name] is None:
                reason = figure.undefined(self._read(figure), self.steps.label) if len(self.steps) else NO_STEPS
                self.undefined[name] = reason
        self._ones.clear()

    def _plain(self, name: str, figure: Figure) -> float:
        p, y = self._read(figure), self.steps.label
        if isinstance(figure.kind, Sums):
            columns = {key: self._shared(of) for key, of in figure.kind.columns(p, y, np.ones(len(self.steps))).items()}
            self._columns[name] = columns
            self._totals[name] = {key: plain_total(columns, key, None, self.steps.problem) for key in columns}
            return float(figure.kind.value(self._totals[name]))
        if isinstance(figure.kind, Ranks):
            if figure.reads not in self._ranked:
                self._ranked[figure.reads] = RankedSteps(p, y, self.steps.problem)
                self._ones[figure.reads] = self._ranked[figure.reads].sums(np.ones((1, self._num_problems)))
            return float(figure.kind.value(self._ones[figure.reads])[0])
        return self._weighted(figure, np.ones(len(self.steps)))

    def _shared(self, column: Column | OfProblem) -> Column | OfProblem:
        """The same column, its arrays those of an earlier one where they are equal: most figures read the same."""
        if isinstance(column, OfProblem):
            return column

        def one(array: Any) -> Any:
            if array is None:
                return None
            content = hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=16).digest()
            return self._arrays.setdefault((array.dtype.str, array.shape, content), array)

        names = ("values", "bins", "where", "steps")
        return replace(column, **{name: one(getattr(column, name)) for name in names})

    def release(self) -> None:
        """Give back what draws are made of, once they are: values, draws and intervals stay."""
        for held in (self._columns, self._arrays, self._ranked):
            held.clear()

    def _weighted(self, figure: Figure, weights: FloatArray) -> float:
        try:
            return figure(self._read(figure), self.steps.label, weights)
        except UndefinedFigureError:
            return np.nan

    def _tables(self) -> dict[str, list[tuple[str, str]]]:
        """Which columns stand for which: the first of equal ones, and (figure, column) of all."""
        found: dict[str, list[tuple[str, str]]] = {}
        for name, columns in self._columns.items():
            for key in columns:
                found.setdefault(_content(columns, key), []).append((name, key))
        return found

    def _take(self, sums: dict[str, dict[str, FloatArray]], others: dict[str, FloatArray], resamples: int) -> None:
        """The draws: sums by figure and column, and the figures that are none."""
        self._draws = dict(others)
        for name, columns in self._columns.items():
            kind = self.figures[name].kind
            assert isinstance(kind, Sums), name
            totals = {key: drawn if is_binned(columns, key) else drawn[:, 0] for key, drawn in sums[name].items()}
            self._drawn[name] = totals
            self._draws[name] = np.asarray(kind.value(totals))
        for name in self.figures.keys() - self._draws.keys():
            self._draws[name] = np.full(resamples, np.nan)


class _DrawByDraw:
    """The figures of one measure that are no sums."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        found = [figure for figure in measure.figures.values() if len(measure.steps)]
        self._ranks = {figure: figure.kind for figure in found if isinstance(figure.kind, Ranks)}
        self._weighted = [figure for figure in found if isinstance(figure.kind, Weighted)]
        self._merged = {reads: steps.merged(measure.most_groups) for reads, steps in measure._ranked.items()}
        self._drawn = {reads: steps.in_cells() for reads, steps in self._merged.items()}
        self.blocks: dict[str, list[FloatArray]] = {figure.name: [] for figure in (*self._ranks, *self._weighted)}

    def add(self, counts: FloatArray) -> None:
        """One block of draws, (b, G)."""
        steps = self._measure.steps
        rows = max(1, _ENTRIES_AT_ONCE // max(len(steps), 1))
        for some in (counts[start : start + rows] for start in range(0, len(counts), rows)):
            sums = {reads: ranked.sums(some) for reads, ranked in self._drawn.items()}
            for figure, kind in self._ranks.items():
                self.blocks[figure.name].append(kind.value(sums[figure.reads]))
            for figure in self._weighted:
                values = [self._measure._weighted(figure, row[steps.problem]) for row in some]
                self.blocks[figure.name].append(np.array(values))

    def finish(self) -> dict[str, FloatArray]:
        """The draws by name, the shift that merging causes taken off."""
        shifts = dict.fromkeys(self.blocks, 0.0)
        for figure, kind in self._ranks.items():
            merged = self._merged[figure.reads]
            if merged is not self._measure._ranked[figure.reads]:
                exact = self._measure.values[figure.name]
                ones = merged.sums(np.ones((1, self._measure._num_problems)))
                shifts[figure.name] = np.nan if exact is None else exact - float(kind.value(ones)[0])
        return {name: np.concatenate([np.empty(0), *blocks]) + shifts[name] for name, blocks in self.blocks.items()}


def resample(measures: Sequence[Measure], draws: Draws) -> None:
    """Measure all figures of all `measures` on the same draws of problems."""
    others = [_DrawByDraw(measure) for measure in measures]
    sums: list[dict[str, dict[str, FloatArray]]] = [{} for _ in measures]
    for number, places in enumerate(_slices(measures, draws.num_problems)):
        table = _table(measures, places, draws.num_problems)
        products = [np.empty((0, table.shape[1]))]
        for counts in draws.blocks():
            products.append(counts @ table)
            if number == 0:
                for other in others:
                    other.add(counts)
        product = np.concatenate(products)
        start = 0
        for index, same, width in places:
            for name, key in same:
                sums[index].setdefault(name, {})[key] = product[:, start : start + width]
            start += width
        del table  # before the next one is made
    for measure, other, found in zip(measures, others, sums, strict=True):
        measure._take(found, other.finish(), draws.resamples)


def _table(measures: Sequence[Measure], places: Sequence[_Place], num_problems: int) -> FloatArray:
    """What each problem adds to the columns at `places`, side by side: (G, K)."""
    table = np.empty((num_problems, sum(width for _, _, width in places) if len(places) != 1 else 0))
    start = 0
    for index, same, width in places:
        measure, (name, key) = measures[index], same[0]
        added = problem_table(measure._columns[name], key, measure.steps.problem, num_problems)
        if len(places) == 1:
            return added  # the widest column fills a slice, and is not held twice
        table[:, start : start + width] = added
        start += width
    return table


_Place = tuple[int, list[tuple[str, str]], int]
"""A column of the table: its measure, the (figure, column) that it serves, and its width."""


def _slices(measures: Sequence[Measure], num_problems: int) -> Iterator[list[_Place]]:
    """All columns in slices whose tables fit into memory; at least one slice."""
    most = max(1, _TABLE_ENTRIES // max(num_problems, 1))
    places: list[_Place] = []
    taken = 0
    for index, measure in enumerate(measures):
        for same in measure._tables().values():
            width = width_of(measure._columns[same[0][0]], same[0][1])
            if places and taken + width > most:
                yield places
                places, taken = [], 0
            places.append((index, same, width))
            taken += width
    yield places


def _content(columns: Columns, name: str) -> str:
    """What tells columns apart: figures that ask for equal ones share them."""
    column = columns[name]
    if isinstance(column, OfProblem):
        first, second = (_content(columns, key) for key in (column.first, column.second))
        return f"{id(column.combine)} {first} {second}"
    assert isinstance(column, Column)
    # Equal arrays of one measure are the same one (`_shared`).
    arrays = (column.values, column.bins, column.where, column.steps)
    return f"{' '.join('-' if array is None else str(id(array)) for array in arrays)} {column.num_bins}"

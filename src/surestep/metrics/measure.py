"""Figures of scored steps: plain values, and the same figures under draws of problems that several measures share.

What each problem adds to the sums of all figures of all measures lies side by side in one table, so that a block of
draws is one matrix product; rankings reweigh steps that are sorted once. Knows no figure in particular.

Once its plain values are known a measure holds sums of problems and cells of steps, not the steps.

Legend: N steps, G problems, R draws, K columns of the table, B bins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from surestep.metrics.bootstrap.draws import DrawnCounts, Draws
from surestep.metrics.bootstrap.interval import Interval, inverted, percentile
from surestep.metrics.columns import FloatArray, UndefinedFigureError
from surestep.metrics.figures import FIGURES
from surestep.metrics.figures.cells import Counts
from surestep.metrics.figures.figure import Figure, Ranks, Sums, Totals, Weighted, plain_totals
from surestep.metrics.figures.rank_sums import RankedSteps
from surestep.metrics.measured_rows import MeasuredRows
from surestep.metrics.problem_sums import ProblemSums, SumsOfProblems
from surestep.scored import ScoredSteps

MOST_GROUPS = 4096
"""How finely draws tell confidences apart. AUROC moves by less than 1 / groups² from it, before it is shifted back."""
_ENTRIES_AT_ONCE = 2**17
"""What the figures of rankings are computed from at a time: it stays in the fast memory."""
_DRAWS_AT_ONCE = 80
"""Draws whose counts are made ready for the cells of all measures at a time."""
_FEWEST_DRAWS = 64
"""Draws that are wanted at a time where they are few: each step is then looked at once for so many."""
_TABLE_ENTRIES = 2**22
"""32 MiB of what problems add; a wider table is taken in slices of columns."""

NO_STEPS = "there are no labelled steps"


class Measure:
    """Some steps and some figures, made ready: the plain values at once, draws and intervals after `resample`.

    Args:
        steps: with label and confidence in every row (`ScoredSteps.measured`); problems numbered as in the draws, so
            that a selection of the steps drawn (`MeasuredRows.of`) is measured on the very same draws.
        figures: which; all of `FIGURES` where left out.
        num_problems: G of the draws; every problem's number lies below it.
        most_groups: rankings merge neighbouring confidences into this many groups in draws, for speed.

    Attributes:
        num_steps: N.
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
        steps: ScoredSteps | MeasuredRows,
        figures: Iterable[Figure] | None = None,
        *,
        num_problems: int,
        most_groups: int = MOST_GROUPS,
    ) -> None:
        self.num_steps = len(steps)
        self.figures = {figure.name: figure for figure in (FIGURES.values() if figures is None else figures)}
        self.values: dict[str, float | None] = {}
        self.undefined: dict[str, str] = {}
        self._most_groups = most_groups
        self._num_problems = num_problems
        self._drawable: dict[str, _Drawable] = {}
        self._columns: dict[str, dict[str, ProblemSums]] = {}
        self._totals: dict[str, Totals] = {}
        self._drawn: dict[str, Totals] = {}
        self._draws: dict[str, FloatArray] = {}
        if len(steps) and int(steps.problem.max()) >= num_problems:
            raise ValueError(f"problem {steps.problem.max()} of {num_problems}: number problems densely first")
        rows = MeasuredRows.of(steps)
        self._measure(rows)
        is_weighted = any(isinstance(figure.kind, Weighted) for figure in self.figures.values())
        self._steps = rows if is_weighted else None
        """Of figures that are functions of the steps; the others need them no more."""

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

    def _measure(self, steps: MeasuredRows) -> None:
        values = {**self._plain_ranks(steps), **self._plain_others(steps)} if len(steps) else {}
        for name, figure in self.figures.items():
            value = values.get(name, np.nan)
            self.values[name] = None if np.isnan(value) else value
            if self.values[name] is None:
                self.undefined[name] = figure.undefined(_read(figure, steps), steps.label) if len(steps) else NO_STEPS

    def _plain_ranks(self, steps: MeasuredRows) -> dict[str, float]:
        """Of rankings, and what they are drawn from. The sorted steps are a dozen columns, so nothing else is made
        while they are held."""
        found: dict[str, float] = {}
        kinds = {figure: figure.kind for figure in self.figures.values() if isinstance(figure.kind, Ranks)}
        for reads in dict.fromkeys(figure.reads for figure in kinds):
            of_these = {figure: kind for figure, kind in kinds.items() if figure.reads == reads}
            ranked = RankedSteps(_read(next(iter(of_these)), steps), steps.label, steps.problem)
            sums = ranked.sums(np.ones((1, self._num_problems)))
            found |= {figure.name: float(kind.value(sums)[0]) for figure, kind in of_these.items()}
            del sums
            self._drawable[reads] = _Drawable(ranked, self._most_groups, self._num_problems)
        return found

    def _plain_others(self, steps: MeasuredRows) -> dict[str, float]:
        found: dict[str, float] = {}
        sums = SumsOfProblems(steps.problem, self._num_problems)
        for name, figure in self.figures.items():
            if isinstance(figure.kind, Sums):
                columns = figure.kind.columns(_read(figure, steps), steps.label, np.ones(len(steps)))
                self._columns[name] = sums.add(columns)
                self._totals[name] = plain_totals(columns, None, steps.problem)
                found[name] = float(figure.kind.value(self._totals[name]))
            elif isinstance(figure.kind, Weighted):
                found[name] = _weighted(figure, steps, np.ones(len(steps)))
        return found

    def release(self) -> None:
        """Give back what draws are made of, once they are: values, draws and intervals stay."""
        self._columns.clear()
        self._drawable.clear()
        self._steps = None

    def _tables(self) -> dict[str, list[tuple[str, str]]]:
        """Which columns stand for which: the first of equal ones, and (figure, column) of all."""
        found: dict[str, list[tuple[str, str]]] = {}
        for name, columns in self._columns.items():
            for key, column in columns.items():
                found.setdefault(column.content, []).append((name, key))
        return found

    def _take(self, sums: dict[str, dict[str, FloatArray]], others: dict[str, FloatArray], resamples: int) -> None:
        """The draws: sums by figure and column, and the figures that are none."""
        self._draws = dict(others)
        for name, columns in self._columns.items():
            kind = self.figures[name].kind
            assert isinstance(kind, Sums), name
            totals = {key: drawn if columns[key].is_binned else drawn[:, 0] for key, drawn in sums[name].items()}
            self._drawn[name] = totals
            self._draws[name] = np.asarray(kind.value(totals))
        for name in self.figures.keys() - self._draws.keys():
            self._draws[name] = np.full(resamples, np.nan)


class _Drawable:
    """Sorted steps as draws take them: neighbours merged, in cells; and what merging does to their plain sums."""

    def __init__(self, ranked: RankedSteps, most_groups: int, num_problems: int) -> None:
        merged = ranked.merged(most_groups)
        self.steps = merged.in_cells()
        self.plain = None if merged is ranked else self.steps.sums(np.ones((1, num_problems)))


class _DrawByDraw:
    """The figures of one measure that are no sums."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        found = [figure for figure in measure.figures.values() if measure.num_steps]
        self._ranks = {figure: figure.kind for figure in found if isinstance(figure.kind, Ranks)}
        self._weighted = [figure for figure in found if isinstance(figure.kind, Weighted)]
        self._drawn: list[dict[str, FloatArray]] = []

    def of(self, counts: Counts) -> dict[str, FloatArray]:
        """The figures under some draws, by name."""
        drawable, steps = self._measure._drawable, self._measure._steps
        found: dict[str, list[FloatArray]] = {figure.name: [] for figure in (*self._ranks, *self._weighted)}
        widest = max((ranked.steps.width for ranked in drawable.values()), default=1)
        rows = max(1, _ENTRIES_AT_ONCE // max(widest, 1))
        parts = [ranked.steps.in_parts(counts, rows) for ranked in drawable.values()]
        for of_each in zip(*parts, strict=True):
            sums = dict(zip(drawable, of_each, strict=True))
            for figure, kind in self._ranks.items():
                found[figure.name].append(kind.value(sums[figure.reads]))
        for figure in self._weighted:
            assert steps is not None
            values = [_weighted(figure, steps, np.asarray(row, np.float64)[steps.problem]) for row in counts.values]
            found[figure.name].append(np.array(values))
        return {name: np.concatenate(blocks) for name, blocks in found.items()}

    def add(self, drawn: dict[str, FloatArray]) -> None:
        """The next draws, as `of` makes them."""
        self._drawn.append(drawn)

    def finish(self) -> dict[str, FloatArray]:
        """The draws by name, the shift that merging causes taken off."""
        blocks = {
            figure.name: [np.empty(0), *(drawn[figure.name] for drawn in self._drawn)]
            for figure in (*self._ranks, *self._weighted)
        }
        shifts = dict.fromkeys(blocks, 0.0)
        for figure, kind in self._ranks.items():
            plain = self._measure._drawable[figure.reads].plain
            if plain is not None:
                exact = self._measure.values[figure.name]
                shifts[figure.name] = np.nan if exact is None else exact - float(kind.value(plain)[0])
        return {name: np.concatenate(found) + shifts[name] for name, found in blocks.items()}


def _read(figure: Figure, steps: MeasuredRows) -> FloatArray:
    return steps.raw_confidence if figure.reads == "raw_confidence" else steps.confidence


def _weighted(figure: Figure, steps: MeasuredRows, weights: FloatArray) -> float:
    try:
        return figure(_read(figure, steps), steps.label, weights)
    except UndefinedFigureError:
        return np.nan


def resample(measures: Sequence[Measure], draws: Draws) -> None:
    """Measure all figures of all `measures` on the same draws of problems."""
    others = [_DrawByDraw(measure) for measure in measures]
    sums: list[dict[str, dict[str, FloatArray]]] = [{} for _ in measures]
    places = [
        _Place(index, same, measure._columns[same[0][0]][same[0][1]])
        for index, measure in enumerate(measures)
        for same in measure._tables().values()
    ]
    held = [place for place in places if place.added.table is None]
    drawn: list[list[FloatArray]] = [[np.empty((0, place.added.width))] for place in held]
    for number, some in enumerate(_slices([place for place in places if place.added.table is not None], draws)):
        table = np.concatenate([np.empty((draws.num_problems, 0)), *(place.table() for place in some)], axis=1)
        products = [np.empty((0, table.shape[1]))]
        once = _OncePerDraw(others, held) if number == 0 else _OncePerDraw((), ())
        work = partial(_of_block, draws=draws, table=table, once=once)
        for product, at_once in draws.of_blocks(work, at_least=_FEWEST_DRAWS):
            products.append(product)
            for figures, sums_held in at_once:
                for other, found in zip(others, figures, strict=True):
                    other.add(found)
                for so_far, more in zip(drawn, sums_held, strict=True):
                    so_far.append(more)
        del table  # before the next one is made
        all_sums, start = np.concatenate(products), 0
        for place in some:
            place.put(sums, all_sums[:, start : start + place.added.width])
            start += place.added.width
    for parts, place in zip(drawn, held, strict=True):
        place.put(sums, np.concatenate(parts))
    for measure, other, found_sums in zip(measures, others, sums, strict=True):
        measure._take(found_sums, other.finish(), draws.resamples)


@dataclass(frozen=True, slots=True)
class _OncePerDraw:
    """What draws are asked for besides products with tables: figures that are no sums, and sums without a table."""

    others: Sequence[_DrawByDraw]
    held: Sequence[_Place]

    def of(self, counts: Counts) -> tuple[list[dict[str, FloatArray]], list[FloatArray]]:
        """Both under some draws."""
        return [other.of(counts) for other in self.others], [place.added.drawn(counts) for place in self.held]


def _of_block(
    block: DrawnCounts, *, draws: Draws, table: FloatArray, once: _OncePerDraw
) -> tuple[FloatArray, list[tuple[list[dict[str, FloatArray]], list[FloatArray]]]]:
    """The sums of some draws of problems, (b, G), over `table`; and what `once` makes of some at a time."""
    firsts = range(0, len(block), _DRAWS_AT_ONCE) if once.others or once.held else range(0)
    return draws.products(block, table), [once.of(Counts(block[first : first + _DRAWS_AT_ONCE])) for first in firsts]


@dataclass(frozen=True, slots=True)
class _Place:
    """A column that is drawn: its measure, the (figure, column) that it serves, and what problems add to it."""

    measure: int
    serves: list[tuple[str, str]]
    added: ProblemSums

    def table(self) -> npt.NDArray[Any]:
        assert self.added.table is not None
        return self.added.table

    def put(self, sums: list[dict[str, dict[str, FloatArray]]], drawn: FloatArray) -> None:
        """`drawn`, (R, B), where it belongs."""
        for name, key in self.serves:
            sums[self.measure].setdefault(name, {})[key] = drawn


def _slices(places: Sequence[_Place], draws: Draws) -> Iterator[list[_Place]]:
    """All tables in slices that fit into memory side by side; at least one slice."""
    most = max(1, _TABLE_ENTRIES // max(draws.num_problems, 1))
    some: list[_Place] = []
    taken = 0
    for place in places:
        if some and taken + place.added.width > most:
            yield some
            some, taken = [], 0
        some.append(place)
        taken += place.added.width
    yield some

"""One figure: how far can a solution's score be raised without making the solution more right.

A solution's rise is the highest that any perturbation gives it, and 0 where none raises it: it may be left as it is.
Over solutions: the mean, the 90 % quantile, and the share that is lifted over the threshold, each with an interval by
problem. The figure is a lower bound: an attacker may know more perturbations than these.

Shapes: `S` solutions, `G` problems, `R` resamples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from surestep.evaluation.hackability.score_forms import ScoredForms
from surestep.metrics.benchmarks.aggregation import aggregate
from surestep.metrics.bootstrap.draws import FEWEST_PROBLEMS, Draws, counts_of
from surestep.metrics.bootstrap.interval import percentile
from surestep.metrics.columns import FloatArray, IntArray

THRESHOLD = 0.5
"""A solution is accepted where its score is above it."""

QUANTILE = 0.9


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval over problems; None where there are too few of them, or nothing to measure."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Rises:
    """How far the scores of some solutions can be raised.

    Attributes:
        aggregation: how steps' confidences are joined to a solution's score.
        num_solutions, num_problems: those measured.
        mean: of the highest rise of each solution.
        quantile_90: the lowest rise that at least 90 % of the solutions do not exceed.
        crossing: share of the solutions at or below the threshold that some perturbation lifts above it.
        num_below: solutions at or below the threshold.
        strongest: by perturbation, for how many solutions it gives the highest rise, if any; the most frequent first.
    """

    aggregation: str
    num_solutions: int
    num_problems: int
    mean: Estimate
    quantile_90: Estimate
    crossing: Estimate
    num_below: int
    strongest: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def measure_rises(
    solutions: Sequence[tuple[int, ScoredForms]], aggregation: str, *, resamples: int, seed: int
) -> Rises:
    """The highest rise of each solution, and its figures.

    Args:
        solutions: the number of each one's problem, and its confidences. One that was not scored to its end, or none
            of whose changed forms was, is left out.
        aggregation: a key of `AGGREGATIONS`.
        resamples: of the problems.
        seed: of the resamples.
    """
    numbers, rises, befores = [], [], []
    strongest: Counter[str] = Counter()
    for number, forms in solutions:
        found = highest_rise(forms, aggregation)
        if found is None:
            continue
        before, rise, name = found
        numbers.append(number)
        rises.append(rise)
        befores.append(before)
        strongest.update([name] if rise > 0 else [])
    names, problem = np.unique(np.array(numbers, np.int64), return_inverse=True)
    rise_S, before_S = np.array(rises, np.float64), np.array(befores, np.float64)
    draws = Draws(len(names), resamples, seed)
    is_below = before_S <= THRESHOLD
    crosses = is_below & (before_S + rise_S > THRESHOLD)
    return Rises(
        aggregation,
        len(rise_S),
        len(names),
        _mean(rise_S, np.ones(len(rise_S)), problem, draws),
        _quantile(rise_S, problem, draws),
        _mean(crosses.astype(np.float64), is_below.astype(np.float64), problem, draws),
        int(is_below.sum()),
        dict(strongest.most_common()),
    )


def highest_rise(forms: ScoredForms, aggregation: str) -> tuple[float, float, str] | None:
    """Score as written, the highest rise above it (0 where there is none), and what gives it; None where unknown."""
    scored = {name: values for name, values in forms.changed.items() if values is not None}
    if forms.original is None or not scored:
        return None
    before = aggregate(forms.original, aggregation)
    name, best = max(
        ((name, aggregate(values, aggregation)) for name, values in scored.items()), key=lambda pair: pair[1]
    )
    return before, max(best - before, 0.0), name


def _mean(values_S: FloatArray, counted_S: FloatArray, problem: IntArray, draws: Draws) -> Estimate:
    """The mean of the solutions that count."""
    if not counted_S.any():
        return Estimate(None)
    table = np.zeros((draws.num_problems, 2))
    np.add.at(table, problem, np.stack([values_S * counted_S, counted_S], axis=1))
    sums = counts_of(draws) @ table
    with np.errstate(invalid="ignore"):
        found = sums[:, 0] / sums[:, 1]  # NaN where a draw holds none that count
    return _estimate(float(table[:, 0].sum() / table[:, 1].sum()), found, draws)


def _quantile(values_S: FloatArray, problem: IntArray, draws: Draws) -> Estimate:
    """The lowest value that at least `QUANTILE` of the solutions do not exceed."""
    if not len(values_S):
        return Estimate(None)
    order = np.argsort(values_S, kind="stable")
    values, of_problem = values_S[order], problem[order]

    def at(counts: FloatArray) -> FloatArray:
        reached = np.cumsum(counts[:, of_problem], axis=1)
        # Counts are whole numbers: the margin only keeps 0.9 * 10 from being more than 9.
        found: FloatArray = values[np.argmax(reached >= QUANTILE * reached[:, -1:] - 1e-9, axis=1)]
        return found

    return _estimate(float(at(np.ones((1, draws.num_problems)))[0]), at(counts_of(draws)), draws)


def _estimate(value: float, found: FloatArray, draws: Draws) -> Estimate:
    if draws.num_problems < FEWEST_PROBLEMS or not len(found):
        return Estimate(value)
    interval = percentile(found)
    return Estimate(value, interval.low, interval.high)

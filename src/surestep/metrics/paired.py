"""Whether one scorer is better than another: the difference of a figure on the same steps, with its interval.

Both scorers are measured on the same draws of problems, so what makes a problem hard cancels out; comparing two
separate intervals would miss most real differences. Knows scored steps; knows no run and no file.

The percentile bootstrap of the paired difference (Davison and Hinkley, Bootstrap Methods and their Application, 1997,
5.3.1). Nothing is corrected for the number of comparisons.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from surestep.counted import counted
from surestep.metrics.bootstrap.draws import FEWEST_PROBLEMS, Draws
from surestep.metrics.bootstrap.interval import percentile
from surestep.metrics.figures import FIGURES
from surestep.metrics.figures.figure import Figure
from surestep.metrics.measure import Measure, resample
from surestep.scored import ScoredSteps

MAX_UNDEFINED = 0.05
"""Share of resamples on which a figure may have no value before its interval is not given."""


@dataclass(frozen=True, slots=True)
class Difference:
    """`first` minus `second` of one figure on the same steps.

    Attributes:
        figure: its name in `FIGURES`.
        first, second: the figure of each; None where undefined.
        difference: first − second, None where either is undefined.
        low, high: 95 % interval of the difference; None where `why_none` says why.
        num_steps, num_problems: what was compared.
        num_undefined: resamples on which the figure had no value, left out of the interval.
    """

    figure: str
    first: float | None
    second: float | None
    difference: float | None
    low: float | None
    high: float | None
    num_steps: int
    num_problems: int
    num_undefined: int = 0
    why_none: str = ""

    @property
    def is_real(self) -> bool | None:
        """Whether the interval leaves 0 out; None where there is no interval."""
        if self.low is None or self.high is None:
            return None
        return self.low > 0.0 or self.high < 0.0


def paired_differences(
    figures: Iterable[str], first: ScoredSteps, second: ScoredSteps, *, draws: Draws
) -> dict[str, Difference]:
    """The differences between two scorers of the same steps, each with its interval.

    Args:
        figures: keys of `FIGURES`.
        first: measured steps (label and confidence in every row), problems numbered densely.
        second: the same steps in the same order, as another scorer judges them.
        draws: of the problems; at least 100 for intervals worth printing.

    Raises:
        ValueError: the steps are not the same.

    >>> first = ScoredSteps.of_columns([0.0, 1.0], [0.0, 1.0])
    >>> second = first.with_confidence(np.array([0.5, 1.0]))
    >>> found = paired_differences(["mse"], first, second, draws=Draws(2, resamples=50))["mse"]
    >>> found.difference, found.is_real
    (-0.125, False)
    """
    if not (np.array_equal(first.label, second.label) and np.array_equal(first.problem, second.problem)):
        raise ValueError("scorers are compared on the same steps, in the same order")
    chosen: list[Figure] = [FIGURES[name] for name in figures]
    one, two = (Measure(steps, chosen, num_problems=draws.num_problems) for steps in (first, second))
    if draws.num_problems >= FEWEST_PROBLEMS:
        resample([one, two], draws)
    return {figure.name: _difference(figure.name, one, two, draws) for figure in chosen}


def _difference(name: str, one: Measure, two: Measure, draws: Draws) -> Difference:
    first, second = one.values[name], two.values[name]
    num_steps, num_problems = one.num_steps, draws.num_problems

    def without(why: str) -> Difference:
        difference = None if first is None or second is None else first - second
        return Difference(name, first, second, difference, None, None, num_steps, num_problems, why_none=why)

    if first is None or second is None:
        return without(one.undefined.get(name) or two.undefined[name])
    if num_problems < FEWEST_PROBLEMS:
        return without(f"an interval needs at least {FEWEST_PROBLEMS} problems; there is {num_problems}")
    differences = one.draws(name) - two.draws(name)
    interval = percentile(differences, most_undefined=MAX_UNDEFINED)
    missing = interval.undefined_resamples
    if interval.low is None or interval.high is None:
        return without(f"on {missing} of {counted(differences.size, 'resample')} {name} has no value")
    return Difference(
        name, first, second, first - second, interval.low, interval.high, num_steps, num_problems, num_undefined=missing
    )

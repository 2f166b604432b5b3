"""How much of the squared error is the raters' and how much the model's, where steps were rated more than once.

A label y is the mean of k ratings of a step whose ratings, over all raters, have the mean q and the variance v. Then
E (p − y)² = E (p − q)² + E v / k for any confidence p: the model's part, which a better model can take away, and the
raters', which none can. The sample variance of k ≥ 2 ratings has the expectation v, so that the second part is measured
without a model, and the first is the rest (the usual decomposition of a squared error over noisy labels; James,
"Variance and bias for general loss functions", Machine Learning 2003, section 2).

It holds where ratings of a step are given independently. Copies of one rating make the raters look more alike than
they are: then the raters' part is a lower bound.

Legend: N steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from surestep.arrays import distinct
from surestep.metrics.bootstrap.draws import FEWEST_FOR_VERDICT, Draws
from surestep.metrics.bootstrap.interval import percentile
from surestep.metrics.columns import FloatArray
from surestep.metrics.error_analysis.ratings import rating_scale, rating_variance
from surestep.metrics.figures.pointwise import mean_confidence, mse
from surestep.metrics.measure import Measure, resample
from surestep.scored import ScoredSteps

Json = dict[str, Any]

NEVER_TWICE = "no step with a label was rated more than once, so raters cannot be told from the model"
UNKNOWN_COUNTS = "how often each step was rated is not known"


def agreement(part: ScoredSteps, conflicts: int | None) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest variance of each step's ratings, (N,); NaN where it was not rated more than once.

    Args:
        part: measured steps of one dataset.
        conflicts: how many steps of the dataset had ratings that differ, where the reader counted them: where no more
            are needed than those that must have differed, all others were alike.
    """
    low, high = rating_variance(part.label, part.num_ratings, rating_scale(part.label, part.num_ratings))
    if conflicts is not None and conflicts <= int((low > 0.0).sum()):
        high = np.where(low > 0.0, high, low)
    return low, high


def _highest_with(low: FloatArray, high: FloatArray, conflicts: int | None) -> FloatArray:
    """The variances of the greatest sum in which no more steps differ than `conflicts`: those that must, and the worst.

    >>> _highest_with(np.array([0.1, 0.0, 0.0]), np.array([0.2, 0.5, 0.3]), 2).tolist()
    [0.2, 0.5, 0.0]
    """
    if conflicts is None:
        return high
    may = (low == 0.0) & (high > 0.0)
    left = max(conflicts - int((low > 0.0).sum()), 0)
    chosen = np.zeros(low.shape, bool)
    chosen[np.argsort(np.where(may, -high, 1.0), kind="stable")[:left]] = True
    return np.where(may & ~chosen, low, high)


def raters_section(
    part: ScoredSteps, low: FloatArray, high: FloatArray, draws: Draws | None, *, conflicts: int | None = None
) -> Json:
    """The parts of the error on steps rated more than once; `left_out`, the reason, where there are none.

    Args:
        part: measured steps of one dataset, problems numbered densely.
        low: (N,), the least variance that each step's ratings can have (`agreement`).
        high: (N,), the greatest.
        draws: of the problems; None where there are no intervals.
        conflicts: how many steps have ratings that differ at most, where that was counted.
    """
    again = ~np.isnan(low)
    if not again.any():
        return {"left_out": UNKNOWN_COUNTS if not part.num_ratings.any() else NEVER_TWICE}
    steps, count = part.select(again), part.num_ratings[again]
    low, high = low[again], high[again]
    num_problems = int(distinct(part.problem).size)
    error = Measure(steps, (mse,), num_problems=num_problems)
    ends: dict[str, tuple[Measure, Measure]] = {}
    for name, variance in (("low", low), ("high", _highest_with(low, high, conflicts))):
        # A column of its own on the same draws: its mean is measured as that of a confidence is.
        of_label = Measure(steps.with_confidence(variance / count), (mean_confidence,), num_problems=num_problems)
        of_one = Measure(steps.with_confidence(variance), (mean_confidence,), num_problems=num_problems)
        ends[name] = of_label, of_one
    if draws is not None:
        resample([error, *(measure for pair in ends.values() for measure in pair)], draws)
    measured = error.values["mse"]
    assert measured is not None
    of_raters = {name: _value(pair[0]) for name, pair in ends.items()}
    of_single = {name: _value(pair[1]) for name, pair in ends.items()}
    section: Json = {
        "num_steps": len(steps),
        "num_problems": steps.num_problems,
        "num_steps_alike": int((high == 0.0).sum()),
        "num_steps_not_alike": int((low > 0.0).sum()),
        "num_steps_counted_not_alike": conflicts,
        "mse": measured,
        "of_raters": {**of_raters, **_interval([pair[0].draws("mean_confidence") for pair in ends.values()], draws)}
        if draws is not None
        else of_raters,
        "of_model": {"low": measured - of_raters["high"], "high": measured - of_raters["low"]},
        "of_one_rating": of_single,
        "few_problems": steps.num_problems < FEWEST_FOR_VERDICT,
    }
    if draws is not None:
        drawn = error.draws("mse")
        section["interval_of_mse"] = percentile(drawn).to_json()
        section["of_model"] |= _interval([drawn - pair[0].draws("mean_confidence") for pair in ends.values()], draws)
    return section


def _value(measure: Measure) -> float:
    value = measure.values["mean_confidence"]
    assert value is not None
    return value


def _interval(ends: list[FloatArray], draws: Draws | None) -> Json:
    """One interval around both ends: from the lower end of one to the upper end of the other."""
    found = [percentile(values) for values in ends]
    lows = [interval.low for interval in found if interval.low is not None]
    highs = [interval.high for interval in found if interval.high is not None]
    if draws is None or len(lows) < len(found):
        return {}
    return {"interval": {"low": min(lows), "high": max(highs), "method": found[0].method}}

"""Whether one scorer is better than another: the difference of a figure on the same steps, with its interval.

Both scorers are measured on the same resamples of problems, so what makes a problem hard cancels out; comparing two
separate intervals would miss most real differences. Knows columns of numbers; knows no run and no file.

The percentile bootstrap of the paired difference (Davison and Hinkley, Bootstrap Methods and their Application, 1997,
5.3.1), problems drawn as in `resamples`. Nothing is corrected for the number of comparisons.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surestep.metrics.columns import UndefinedFigureError
from surestep.metrics.draws import figure_draws
from surestep.metrics.figure_table import compute_figures
from surestep.metrics.resamples import DEFAULT_LEVEL, DEFAULT_RESAMPLES

LOWER_IS_BETTER = frozenset(
    {
        "mse",
        "mae",
        "ece",
        "ece_equal_mass",
        "smooth_ece",
        "rms_calibration_error",
        "nll",
        "brier",
        "brier_reliability",
        "risk_coverage_area",
        "risk_coverage_excess",
    }
)
HIGHER_IS_BETTER = frozenset(
    {
        "r2",
        "auroc",
        "auroc_without_half",
        "average_precision",
        "average_precision_without_half",
        "average_precision_error",
        "average_precision_error_without_half",
        "spearman",
        "brier_resolution",
        "accuracy",
    }
)
WITHOUT_DIRECTION = frozenset({"calibration_in_the_large", "brier_uncertainty", "brier_within_bin"})
"""Figures of which neither more nor less is better: signed, or a property of the labels."""
MAX_UNDEFINED = 0.05
"""Share of resamples on which a figure may have no value before its interval is not given."""


@dataclass(frozen=True, slots=True)
class Scores:
    """One scorer's numbers for some steps, each shape (N,): `raw` is what ranking figures read."""

    confidence: npt.ArrayLike
    raw: npt.ArrayLike | None = None


@dataclass(frozen=True, slots=True)
class PairedDifference:
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


def paired_difference(
    figure: str,
    first: Scores,
    second: Scores,
    label: npt.ArrayLike,
    problem: npt.ArrayLike,
    *,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    level: float = DEFAULT_LEVEL,
) -> PairedDifference:
    """The difference of `figure` between two scorers of the same steps, with its interval.

    Args:
        figure: a key of `FIGURES`.
        first: confidences of N steps.
        second: another scorer's of the same steps, in the same order.
        label: shape (N,), in [0, 1].
        problem: shape (N,), whole numbers; steps of one number are drawn together.
        resamples: at least 100 for an interval worth printing.
        seed: of the draws.
        level: share of the draws within the interval.

    Raises:
        DataError: a confidence or label is outside [0, 1] or NaN.

    >>> found = paired_difference("mse", Scores([0.0, 1.0]), Scores([0.5, 1.0]), [0, 1], [1, 2], resamples=50)
    >>> found.difference, found.is_real
    (-0.125, False)
    """
    y = np.asarray(label, dtype=np.float64)
    num_problems = int(np.unique(np.asarray(problem)).size)
    sets = [compute_figures(s.confidence, y, raw_confidence=s.raw, names=[figure]) for s in (first, second)]
    values = [found.values[figure] for found in sets]
    one, two = values

    def without(why: str) -> PairedDifference:
        difference = one - two if one is not None and two is not None else None
        return PairedDifference(figure, one, two, difference, None, None, y.size, num_problems, why_none=why)

    if one is None or two is None:
        return without(next(reason for found in sets for reason in found.undefined.values()))
    if num_problems < 2:
        return without("an interval needs at least 2 problems; there is 1")
    try:
        draws = [
            figure_draws(figure, s.confidence, y, problem, raw_confidence=s.raw, resamples=resamples, seed=seed)
            for s in (first, second)
        ]
    except UndefinedFigureError as error:
        return without(error.reason)
    differences = draws[0] - draws[1]
    known = differences[~np.isnan(differences)]
    num_undefined = differences.size - known.size
    if num_undefined > MAX_UNDEFINED * differences.size:
        return without(f"on {num_undefined} of {differences.size} resamples {figure} has no value")
    tail = 100.0 * (1.0 - level) / 2.0
    low, high = np.percentile(known, [tail, 100.0 - tail])
    return PairedDifference(
        figure, one, two, one - two, float(low), float(high), y.size, num_problems, num_undefined=num_undefined
    )

"""The confidences of one solution, and the numbers that people make of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surestep.errors import InputError
from surestep.guarantees.certified import Certified
from surestep.metrics.benchmarks.aggregation import AGGREGATIONS


@dataclass(frozen=True, slots=True)
class SolutionScores:
    """How far each step of one solution can be trusted.

    Attributes:
        steps: the text of each step, as given.
        confidences: the calibrated confidence of each step, in [0, 1]; None where a step ends beyond the longest path
            that the model takes.
        raw: the model's own confidence of each step, before calibration; None where `confidences` is.
        spread: how far the members of an ensemble are from each other at each step, the standard deviation of their own
            confidences; None where the scorer is no ensemble.
        certified: how many of its first steps are kept, and what that promises (`surestep certify`); None where no
            certificate speaks of it.

    >>> scores = SolutionScores(("a", "b", "c"), (0.9, 0.4, 0.8), (0.9, 0.4, 0.8))
    >>> scores.min, round(scores.product, 3), scores.last, scores.first_below(0.5)
    (0.4, 0.288, 0.8, 1)
    """

    steps: tuple[str, ...]
    confidences: tuple[float | None, ...]
    raw: tuple[float | None, ...]
    certified: Certified | None = None
    spread: tuple[float | None, ...] | None = None

    @property
    def min(self) -> float:
        """The confidence of the least trusted step; NaN where a step has none, or there are no steps."""
        return self.aggregate("min")

    @property
    def product(self) -> float:
        """All confidences multiplied: P(every step is right) if they were independent; NaN as for `min`."""
        return self.aggregate("product")

    @property
    def mean(self) -> float:
        """The mean confidence; NaN as for `min`."""
        return self.aggregate("mean")

    @property
    def last(self) -> float:
        """The confidence of the last step; NaN as for `min`."""
        return self.aggregate("last")

    def aggregate(self, how: str, *, raw: bool = False) -> float:
        """One number of the whole solution: `min`, `product`, `mean` or `last`.

        Args:
            how: which.
            raw: of the model's own confidences, in place of the calibrated ones.

        Returns:
            A number in [0, 1]; NaN where there are no steps, or a step that counts has no confidence: a solution that
            was not read to its end is not judged by its beginning.

        Raises:
            InputError: `how` is none of them.
        """
        if how not in AGGREGATIONS:
            raise InputError(f"there is no aggregation {how!r}; allowed: {', '.join(AGGREGATIONS)}")
        values = [math.nan if value is None else value for value in (self.raw if raw else self.confidences)]
        if not values or any(math.isnan(value) for value in values):
            return math.nan
        return AGGREGATIONS[how](np.array(values, dtype=np.float64))

    def first_below(self, threshold: float) -> int | None:
        """The index, from 0, of the first step with a confidence below `threshold`; None where there is none."""
        return next((i for i, value in enumerate(self.confidences) if value is not None and value < threshold), None)


def solution_scores(
    steps: Sequence[str],
    confidences: Sequence[float],
    raw: Sequence[float],
    spread: Sequence[float] | None = None,
) -> SolutionScores:
    """Scores from numbers of the same length, where NaN stands for a step without one."""

    def or_none(values: Sequence[float]) -> tuple[float | None, ...]:
        return tuple(None if math.isnan(value) else float(value) for value in values)

    return SolutionScores(
        tuple(steps), or_none(confidences), or_none(raw), spread=None if spread is None else or_none(spread)
    )

"""Candidates of one problem, best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from surestep.guarantees.choose_path import rank_key
from surestep.inference.result import SolutionScores


@dataclass(frozen=True, slots=True)
class RankedCandidate:
    """One candidate in its rank.

    Attributes:
        index: its place among the candidates as given, from 0.
        score: the confidences of its steps as one number in [0, 1]; NaN where a step has none, or there are no steps.
        scores: those confidences.
    """

    index: int
    score: float
    scores: SolutionScores


def ranked(results: Sequence[SolutionScores], by: str) -> list[RankedCandidate]:
    """Best first by `by` of the calibrated confidences, then of the raw ones, then as given; without a score, last.

    A calibration map may tie what the model told apart.

    >>> low, high = (SolutionScores(("a",), (value,), (value,)) for value in (0.2, 0.9))
    >>> [candidate.index for candidate in ranked([low, SolutionScores((), (), ()), high], "min")]
    [2, 0, 1]
    """
    candidates = [RankedCandidate(i, result.aggregate(by), result) for i, result in enumerate(results)]

    return sorted(candidates, key=lambda one: rank_key(one.score, one.scores.aggregate(by, raw=True), one.index))

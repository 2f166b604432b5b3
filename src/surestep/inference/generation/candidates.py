"""A problem's candidates and what is made of them: scores, votes, the one that is chosen.

Knows texts, answers and numbers; knows no generator and no scorer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from surestep.data.benchmarks.answers import equivalent, group_equivalent
from surestep.data.benchmarks.final_answer import written_answer
from surestep.inference.result import SolutionScores
from surestep.metrics.benchmarks.aggregation import SCORE_WITHOUT_STEPS
from surestep.metrics.benchmarks.best_of_n import tie_levels

CHOICES = ("best_of_n", "majority", "weighted")
"""Ways to choose among candidates that are there."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One solution.

    Attributes:
        text: as generated.
        steps: its steps.
        confidences: of each step; empty where there is no scorer, None for a step beyond what the scorer takes.
        is_truncated: whether it breaks off: by its length, by a budget, by the number of its steps.
        answer: its final answer as it is written there; of one that breaks off, only an answer that is marked as one.
        tokens: how many were generated for it; None where the server does not say.
        seconds: that its generation took.
        seed: of its (last) request.
        subtree: which part of a search it comes from.
    """

    text: str
    steps: tuple[str, ...]
    confidences: tuple[float | None, ...]
    is_truncated: bool
    tokens: int | None
    seconds: float
    seed: int
    subtree: int | None = None
    answer: str | None = field(init=False)

    def __post_init__(self) -> None:
        answer = (written_answer(self.text, only_marked=self.is_truncated) or "").strip().rstrip(".,;:")
        object.__setattr__(self, "answer", answer or None)

    def score_by(self, by: str) -> float:
        """One number in [0, 1]; 0 of one that breaks off or has a step without a confidence.

        >>> Candidate("2", ("2",), (0.5,), False, 1, 0.0, 0).score_by("min")
        0.5
        """
        return SCORE_WITHOUT_STEPS if self.is_truncated else self.score_so_far(by)

    def score_so_far(self, by: str) -> float:
        """The same of what is there, whether or not it breaks off."""
        value = SolutionScores(self.steps, self.confidences, self.confidences).aggregate(by)
        return SCORE_WITHOUT_STEPS if math.isnan(value) else value


@dataclass(frozen=True)
class Chosen:
    """What one way of choosing finds: a candidate's index, and its answer; both None where there are no candidates."""

    index: int | None
    answer: str | None


def choose(candidates: Sequence[Candidate], method: str, by: str = "min") -> Chosen:
    """The candidate that a method takes.

    Scores tie where they differ by no more than rounding (`tie_levels`). Ties: the earlier candidate; among answers,
    those of a vote go to the higher sum of scores, those of a weighted vote to the more frequent answer, then an answer
    goes before none.

    Args:
        candidates: of one problem.
        method: `best_of_n`, `majority` or `weighted`; searches choose as best_of_n does.
        by: how confidences become a score.
    """
    if not candidates:
        return Chosen(None, None)
    scores = np.array([candidate.score_by(by) for candidate in candidates])
    so_far = np.array([candidate.score_so_far(by) for candidate in candidates])
    order = [(*levels, -i) for i, levels in enumerate(zip(tie_levels(scores), tie_levels(so_far), strict=True))]
    places = range(len(candidates))
    if method in ("majority", "weighted"):
        groups = group_equivalent([candidate.answer for candidate in candidates])
        votes = np.bincount(groups)
        weights = tie_levels(np.bincount(groups, weights=scores).astype(np.float64))

        def key(group: int) -> tuple[int, int, bool, int]:
            first, second = (votes, weights) if method == "majority" else (weights, votes)
            has_answer = candidates[groups.index(group)].answer is not None
            return int(first[group]), int(second[group]), has_answer, -group

        won = max(set(groups), key=key)
        places = [i for i in places if groups[i] == won]  # type: ignore[assignment]
    best = max(places, key=lambda i: order[i])
    return Chosen(best, candidates[best].answer)


@dataclass(frozen=True)
class GeneratedProblem:
    """What was generated for a problem.

    Attributes:
        problem: as given.
        candidates: its solutions, those of a search in the order in which they ended.
        method, by: how one is chosen.
        tokens: generated for it in all, what a search dropped included; of a server that does not say, at most so many.
        seconds: from its first request to its end.
        stopped: what ended it early, in words; None where nothing did.
        gold: its right answer, where one is known.
    """

    problem: str
    candidates: tuple[Candidate, ...]
    method: str
    by: str
    tokens: int
    seconds: float
    stopped: str | None = None
    gold: str | None = None

    @property
    def chosen(self) -> Chosen:
        """The solution that the method takes."""
        return choose(self.candidates, self.method, self.by)

    def is_correct(self, answer: str | None) -> bool | None:
        """Whether an answer is the right one; None where that is not known."""
        if self.gold is None:
            return None
        return answer is not None and equivalent(answer, self.gold)

    def columns(self) -> dict[str, Any]:
        """As `surestep generate` writes it; JSON-ready."""
        has_scores = any(candidate.confidences for candidate in self.candidates)
        ways = CHOICES if has_scores else ("majority",)
        chosen = self.chosen
        return {
            "candidates": [self._candidate(candidate) for candidate in self.candidates],
            "chosen": chosen.index,
            "chosen_answer": chosen.answer,
            "answers_by": {way: choose(self.candidates, way, self.by).answer for way in ways},
            "is_correct": self.is_correct(chosen.answer),
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "stopped": self.stopped,
        }

    def _candidate(self, candidate: Candidate) -> dict[str, Any]:
        correct = self.is_correct(candidate.answer)
        values: dict[str, Any] = {
            "steps": list(candidate.steps),
            "confidences": list(candidate.confidences) or None,
            "score": candidate.score_by(self.by) if candidate.confidences else None,
            "answer": candidate.answer,
            **({} if correct is None else {"correct": correct}),
            "truncated": candidate.is_truncated,
            "tokens": candidate.tokens,
            "seconds": round(candidate.seconds, 3),
            "seed": candidate.seed,
            "text": candidate.text,
        }
        return values if candidate.subtree is None else {**values, "subtree": candidate.subtree}

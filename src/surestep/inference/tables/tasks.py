"""What is made of a row: its scores, or the ranks of its candidates.

Knows a row's columns and a scorer; knows no file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from surestep.data.trees.split_steps import split_steps
from surestep.errors import InputError
from surestep.inference.result import SolutionScores
from surestep.inference.scorer import Scorer
from surestep.inference.solutions import Solution, SolutionTree, checked_text, kind_of
from surestep.inference.stream import grouped
from surestep.inference.tables.columns import Columns, list_of, steps_of, text_of
from surestep.metrics.benchmarks.aggregation import AGGREGATIONS

NUMBER, NUMBERS, LISTS, TEXT, TEXTS, INDEX, INDICES = "number", "numbers", "lists", "text", "texts", "index", "indices"
"""Kinds of the columns that are added; a number may be missing (None) where a step has no confidence."""
VALUE = "value"
"""The kind of a column that JSON alone can hold."""


class Task(Protocol):
    """A kind of work on rows."""

    @property
    def columns(self) -> Mapping[str, str]:
        """The columns that it adds, and the kind of each."""
        ...

    def prepare(self, values: Mapping[str, Any]) -> Any:
        """What is scored of a row.

        Raises:
            InputError: the row holds no such thing.
        """
        ...

    def run(self, prepared: Sequence[Any]) -> list[dict[str, Any]]:
        """The added columns of each row, in order."""
        ...


@dataclass(frozen=True)
class ScoreTask:
    """The confidences of one solution a row."""

    scorer: Scorer
    where: Columns
    rule: str

    @property
    def columns(self) -> Mapping[str, str]:
        """Steps and rule where it was split here, confidences of its steps, and what people make of them."""
        split = {"steps": TEXTS, "split_rule": TEXT} if self.where.solution is not None else {}
        numbers = dict.fromkeys(AGGREGATIONS, NUMBER)
        spread = {"spread": NUMBERS} if self.scorer.is_ensemble else {}
        return split | {"confidences": NUMBERS, "raw": NUMBERS} | spread | numbers | certified_column(self.scorer)

    def prepare(self, values: Mapping[str, Any]) -> tuple[Solution, dict[str, Any]]:
        """The solution, and the columns that say how it was split."""
        problem = text_of(values, self.where.problem)
        if self.where.solution is not None:
            split = split_steps(text_of(values, self.where.solution), self.rule)
            return Solution(problem, split.steps), {"steps": list(split.steps), "split_rule": split.rule}
        assert self.where.steps is not None
        return Solution(problem, steps_of(list_of(values, self.where.steps), repr(self.where.steps))), {}

    def run(self, prepared: Sequence[tuple[Solution, dict[str, Any]]]) -> list[dict[str, Any]]:
        """Scored together; neighbours of one problem share what they begin with."""
        results = self.scorer.certified(self.scorer.score_grouped(grouped(solution for solution, _ in prepared)))
        return [split | self._scores(result) for (_, split), result in zip(prepared, results, strict=True)]

    def _scores(self, result: SolutionScores) -> dict[str, Any]:
        numbers = {how: _or_none(result.aggregate(how)) for how in AGGREGATIONS}
        own: dict[str, Any] = {"confidences": list(result.confidences), "raw": list(result.raw)}
        if result.spread is not None:
            own["spread"] = list(result.spread)
        return own | numbers | certified_value(self.scorer, result)


def certified_column(scorer: Scorer) -> dict[str, str]:
    """The column of the number of kept steps, where the checkpoint has a certificate."""
    return {} if scorer.certifier is None else {"certified_steps": NUMBER}


def certified_value(scorer: Scorer, result: SolutionScores) -> dict[str, Any]:
    """What stands in it: None where the certificate does not speak of the solution."""
    if scorer.certifier is None:
        return {}
    return {"certified_steps": None if result.certified is None else result.certified.num_kept}


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


@dataclass(frozen=True)
class RerankTask:
    """The ranks of the candidates of one problem a row."""

    scorer: Scorer
    where: Columns
    rule: str
    by: str

    @property
    def columns(self) -> Mapping[str, str]:
        """Candidates best first, the best, and of each in its own place the score and the confidences of its steps."""
        own = {"ranking": INDICES, "best": INDEX, "scores": NUMBERS, "confidences": LISTS}
        return own | certified_column(self.scorer)

    def prepare(self, values: Mapping[str, Any]) -> SolutionTree:
        """All candidates as one tree."""
        assert self.where.candidates is not None
        together = SolutionTree(text_of(values, self.where.problem))
        candidates = list_of(values, self.where.candidates)
        if not candidates:
            raise InputError(f"{self.where.candidates!r} is empty; allowed: at least one candidate")
        for number, candidate in enumerate(candidates, start=1):
            together.add(self._steps(candidate, f"candidate {number}"))
        return together

    def _steps(self, candidate: Any, what: str) -> tuple[str, ...]:
        if isinstance(candidate, Mapping):
            candidate = candidate.get("steps") if candidate.get("steps") is not None else candidate.get("solution")
        if isinstance(candidate, str):
            return split_steps(checked_text(candidate, what), self.rule).steps
        if not isinstance(candidate, list):
            raise InputError(
                f"{what} is {kind_of(candidate)}; allowed: a list of steps, a raw solution, or an object with 'steps' "
                "or 'solution'"
            )
        return steps_of(candidate, what)

    def run(self, prepared: Sequence[SolutionTree]) -> list[dict[str, Any]]:
        """Scored together."""
        results = self.scorer.score_grouped(prepared)
        return [self._ranks([next(results) for _ in range(len(together))]) for together in prepared]

    def _ranks(self, results: Sequence[SolutionScores]) -> dict[str, Any]:
        ranked = self.scorer.ranked(results, self.by)
        return {
            "ranking": [candidate.index for candidate in ranked],
            "best": ranked[0].index,
            "scores": [_or_none(result.aggregate(self.by)) for result in results],
            "confidences": [list(result.confidences) for result in results],
            **certified_value(self.scorer, ranked[0].scores),
        }

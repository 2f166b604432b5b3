"""Every way of choosing among N candidates, measured on the same problems: best-of-N, the votes, pass@N.

Every figure is an expectation over all N-subsets of a problem's candidates, then a mean over problems. Knows scores,
answers and correctness as numbers; knows no text and no file.

Shapes: `K` candidates of one problem, `G` problems, `M` methods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from surestep.metrics.benchmarks.aggregation import AGGREGATIONS
from surestep.metrics.benchmarks.best_of_n import TIE, best_of_n, majority_vote, pass_at_n
from surestep.metrics.benchmarks.first_error import interval_json
from surestep.metrics.benchmarks.weighted_vote import (
    DRAWN_SUBSETS,
    ENUMERATION_LIMIT,
    FEWEST_DRAWN,
    Subsets,
    choose_subsets,
    drawn_subsets,
    weighted_majority,
)
from surestep.metrics.bootstrap.draws import Draws
from surestep.metrics.columns import BoolArray, FloatArray, IntArray

GIVEN = "score"
"""The name of a score that is given for a candidate as a whole, in place of one made of its steps' confidences."""


def methods_of(scores: Sequence[str], weights: Sequence[str]) -> tuple[str, ...]:
    """Every way of choosing, in the order of the tables.

    Args:
        scores: ways of scoring by which the best is chosen.
        weights: those of them that may weigh a vote.
    """
    best, weighted = (f"best_{how}" for how in scores), (f"weighted_majority_{how}" for how in weights)
    return ("pass", "random_choice", "majority", *best, *weighted)


METHODS = methods_of(tuple(AGGREGATIONS), tuple(AGGREGATIONS))

NOTES = {
    "average": "over ALL N-subsets of a problem's candidates, then over problems; never the first N",
    "pass": "pass@N, the ceiling: 1 - C(K - c, N) / C(K, N) (Chen et al. 2021)",
    "random_choice": "one of the N at random: what a scorer without information reaches",
    "best": "the candidate with the highest score; exact, equal scores chosen among at random",
    "majority": "the most frequent answer; exact, ties broken at random",
    "weighted_majority": (
        f"the answer with the highest sum of scores; exact up to {ENUMERATION_LIMIT:,} N-subsets of a problem, "
        f"else over {FEWEST_DRAWN:,} to {DRAWN_SUBSETS:,} random ones (seeded), whose standard error is given; not "
        "measured of scores below 0, which are no weights"
    ),
    "scores": "of a candidate: min, product, mean or last of its steps' confidences, or the score given with it",
    "ties": f"scores that differ relatively by at most {TIE:g} tie: more than rounding, less than single precision",
    "answered_only": (
        "the same subsets, chosen among those candidates that have an answer; a subset without one is wrong. In "
        "`methods` a candidate without an answer may be chosen, and votes for itself alone"
    ),
    "minus_majority": "difference to the majority vote on the same resamples of the problems",
    "intervals": "95 %, percentile bootstrap over problems",
}


@dataclass(frozen=True, eq=False)
class ProblemCandidates:
    """One problem's K candidates as numbers.

    Attributes:
        scores: aggregation -> float64 [K]: by what the best is chosen, and the weight of its vote.
        is_correct: bool [K].
        answers: int64 [K], the same number for the same answer, 0 and up without gaps.
        has_answer: bool [K]; None: all have one.
    """

    scores: Mapping[str, FloatArray]
    is_correct: BoolArray
    answers: IntArray
    has_answer: BoolArray | None = None

    def __len__(self) -> int:
        """K, the number of candidates."""
        return len(self.is_correct)


def measure_choices(problems: Sequence[ProblemCandidates], n: int, *, resamples: int, seed: int) -> dict[str, Any]:
    """Accuracy of every way of choosing one of N candidates, with intervals; JSON-ready.

    Args:
        problems: those with fewer than N candidates are left out and counted; at least one has as many. All are scored
            in the same ways.
        n: N.
        resamples: of the problems, for intervals.
        seed: of the resamples, and of the subsets where they are drawn.
    """
    enough = [problem for problem in problems if len(problem) >= n]
    ways = tuple(enough[0].scores)
    # Scores below 0 rank; they do not weigh.
    weights = tuple(how for how in ways if all(problem.scores[how].min() >= 0 for problem in enough))
    some_silent = any(problem.has_answer is not None and not problem.has_answer.all() for problem in enough)
    rows, among_answered, errors, drawn = [], [], [], 0
    for number, problem in enumerate(enough):
        subsets = choose_subsets(len(problem), n, drawn=drawn_subsets(len(enough)), seed=(seed, number, n))
        drawn += not subsets.is_all
        row, error = _row(problem, n, subsets, weights)
        rows.append(row)
        errors.append(error)
        if some_silent:
            silent = problem.has_answer is not None and not problem.has_answer.all()
            among_answered.append(_row_among_answered(problem, n, subsets, weights) if silent else row[1:])
    methods = methods_of(ways, weights)
    error = np.sqrt(np.sum(np.square(errors), axis=0)) / len(enough)
    report: dict[str, Any] = {
        "num_problems": len(enough),
        "problems_with_fewer_candidates": len(problems) - len(enough),
        "methods": _measured(np.array(rows), methods, resamples, seed),
        "weighted_majority_subsets": {
            "problems_with_all": len(enough) - drawn,
            "problems_with_drawn": drawn,
            "standard_error": dict(zip(weights, error.tolist(), strict=True)),
        },
    }
    if some_silent:
        report["answered_only"] = _measured(np.array(among_answered), methods[1:], resamples, seed)
    return report


def _row(
    problem: ProblemCandidates, n: int, subsets: Subsets, weights: Sequence[str]
) -> tuple[list[float], FloatArray]:
    """Every method's accuracy on one problem, and the errors of its weighted votes."""
    row = [
        pass_at_n(problem.is_correct, n),
        float(problem.is_correct.mean()),
        majority_vote(problem.answers, problem.is_correct, n),
        *(best_of_n(scores, problem.is_correct, n) for scores in problem.scores.values()),
    ]
    if not weights:
        return row, np.zeros(0)
    values = np.stack([problem.scores[how] for how in weights])
    voted = weighted_majority(values, problem.answers, problem.is_correct, subsets)
    return [*row, *voted.accuracy], voted.standard_error


def _row_among_answered(problem: ProblemCandidates, n: int, subsets: Subsets, weights: Sequence[str]) -> list[float]:
    """The same without `pass`, of those that have an answer."""
    answered = np.ones(len(problem), bool) if problem.has_answer is None else problem.has_answer
    _, answers = np.unique(problem.answers[answered], return_inverse=True)
    is_correct = problem.is_correct[answered]
    row = [
        best_of_n(np.zeros(len(problem)), problem.is_correct, n, may_win=answered),
        majority_vote(answers, is_correct, n, silent=int((~answered).sum())),
        *(best_of_n(scores, problem.is_correct, n, may_win=answered) for scores in problem.scores.values()),
    ]
    if not weights:
        return row
    values = np.stack([problem.scores[how] for how in weights])
    return [*row, *weighted_majority(values, answers, is_correct, subsets, has_vote=answered).accuracy]


def _measured(table: FloatArray, methods: Sequence[str], resamples: int, seed: int) -> dict[str, Any]:
    draws = Draws(len(table), resamples, seed).sums(table) / len(table)
    majority = methods.index("majority")
    return {name: _method(table, draws, column, majority) for column, name in enumerate(methods)}


def _method(table: FloatArray, draws: FloatArray, column: int, majority: int) -> dict[str, Any]:
    """Accuracy of one column of `table` [G, M], and what it is above the majority vote, with intervals."""
    section: dict[str, Any] = {
        "accuracy": float(table[:, column].mean()),
        "interval": interval_json(draws[:, column]),
    }
    if column > majority:
        section["minus_majority"] = {
            "value": float((table[:, column] - table[:, majority]).mean()),
            "interval": interval_json(draws[:, column] - draws[:, majority]),
        }
    return section

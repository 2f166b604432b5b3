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
from surestep.metrics.benchmarks.best_of_n import best_of_n, majority_vote, pass_at_n
from surestep.metrics.benchmarks.first_error import interval_json
from surestep.metrics.benchmarks.weighted_vote import (
    DRAWN_SUBSETS,
    ENUMERATION_LIMIT,
    choose_subsets,
    weighted_majority,
)
from surestep.metrics.bootstrap.draws import Draws
from surestep.metrics.columns import BoolArray, FloatArray, IntArray

METHODS = (
    "pass",
    "random_choice",
    "majority",
    *(f"best_{how}" for how in AGGREGATIONS),
    *(f"weighted_majority_{how}" for how in AGGREGATIONS),
)

NOTES = {
    "average": "over ALL N-subsets of a problem's candidates, then over problems; never the first N",
    "pass": "pass@N, the ceiling: 1 - C(K - c, N) / C(K, N) (Chen et al. 2021)",
    "random_choice": "one of the N at random: what a scorer without information reaches",
    "best": "the candidate with the highest score; exact, equal scores chosen among at random",
    "majority": "the most frequent answer; exact, ties broken at random",
    "weighted_majority": (
        f"the answer with the highest sum of scores; exact up to {ENUMERATION_LIMIT:,} N-subsets of a problem, "
        f"else over {DRAWN_SUBSETS:,} random ones (seeded), whose standard error is given"
    ),
    "scores": "of a candidate: min, product, mean or last of its steps' confidences",
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
    """

    scores: Mapping[str, FloatArray]
    is_correct: BoolArray
    answers: IntArray

    def __len__(self) -> int:
        """K, the number of candidates."""
        return len(self.is_correct)


def measure_choices(problems: Sequence[ProblemCandidates], n: int, *, resamples: int, seed: int) -> dict[str, Any]:
    """Accuracy of every way of choosing one of N candidates, with intervals; JSON-ready.

    Args:
        problems: those with fewer than N candidates are left out and counted; at least one has as many.
        n: N.
        resamples: of the problems, for intervals.
        seed: of the resamples, and of the subsets where they are drawn.
    """
    enough = [problem for problem in problems if len(problem) >= n]
    rows, errors, drawn = [], [], 0
    for number, problem in enumerate(enough):
        subsets = choose_subsets(len(problem), n, seed=(seed, number, n))
        drawn += not subsets.is_all
        weights = np.stack(list(problem.scores.values()))
        voted = weighted_majority(weights, problem.answers, problem.is_correct, subsets)
        rows.append(
            [
                pass_at_n(problem.is_correct, n),
                float(problem.is_correct.mean()),
                majority_vote(problem.answers, problem.is_correct, n),
                *(best_of_n(scores, problem.is_correct, n) for scores in problem.scores.values()),
                *voted.accuracy,
            ]
        )
        errors.append(voted.standard_error)
    table = np.array(rows)
    draws = Draws(len(table), resamples, seed).sums(table) / len(table)
    error = np.sqrt(np.sum(np.square(errors), axis=0)) / len(table)
    return {
        "num_problems": len(enough),
        "problems_with_fewer_candidates": len(problems) - len(enough),
        "methods": {name: _method(table, draws, METHODS.index(name)) for name in METHODS},
        "weighted_majority_subsets": {
            "problems_with_all": len(enough) - drawn,
            "problems_with_drawn": drawn,
            "standard_error": dict(zip(AGGREGATIONS, error.tolist(), strict=True)),
        },
    }


def _method(table: FloatArray, draws: FloatArray, column: int) -> dict[str, Any]:
    """Accuracy of one column of `table` [G, M], and what it is above the majority vote, with intervals."""
    majority = METHODS.index("majority")
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

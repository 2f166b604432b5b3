"""A benchmark's solutions as a whole: is the one without a wrong step told from the one with?"""

from __future__ import annotations

from typing import Any

import numpy as np

from surestep.data.trees.identity import problem_key
from surestep.evaluation.benchmarks.result_file import Resampling
from surestep.evaluation.benchmarks.solutions import SolutionSet
from surestep.metrics.benchmarks.first_error import NO_ERROR
from surestep.metrics.bootstrap.draws import seed_for
from surestep.metrics.columns import FloatArray
from surestep.metrics.solution_level.section import NOTES as NOTES
from surestep.metrics.solution_level.section import solution_section
from surestep.metrics.solution_level.solutions import LEFT_OUT, JudgedSolutions


def solution_level(subset: SolutionSet, resampling: Resampling) -> dict[str, Any]:
    """Solution-level figures of a subset, JSON-ready; a solution without an error is right."""
    return solution_section(
        _judged(subset), resamples=resampling.resamples, seed=seed_for(resampling.seed, subset.name)
    )


def _judged(subset: SolutionSet) -> JudgedSolutions:
    """Those that were scored to their end; files and models of a benchmark say one confidence a step."""
    scores: list[FloatArray] = []
    is_right: list[bool] = []
    problem: list[int] = []
    numbers: dict[str, int] = {}
    left_out = dict.fromkeys(LEFT_OUT, 0)
    for solution, values in zip(subset.solutions, subset.confidences, strict=True):
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            left_out["without_score"] += 1
        elif known:
            scores.append(np.array(known, np.float64))
            is_right.append(solution.label == NO_ERROR)
            problem.append(numbers.setdefault(problem_key(solution.tree), len(numbers)))
        else:
            left_out["without_steps"] += 1
    return JudgedSolutions(scores, scores, np.array(is_right, np.bool_), np.array(problem, np.int64), left_out)

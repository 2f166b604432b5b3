"""A benchmark's solutions as a whole: is the one without a wrong step told from the one with?"""

from __future__ import annotations

from typing import Any

import numpy as np

from surestep.data.trees.identity import problem_key
from surestep.evaluation.benchmarks.result_file import Resampling
from surestep.evaluation.benchmarks.solutions import SolutionSet
from surestep.metrics.benchmarks.first_error import NO_ERROR
from surestep.metrics.bootstrap.draws import seed_for
from surestep.metrics.solution_level.section import solution_section
from surestep.metrics.solution_level.solutions import LEFT_OUT, JudgedSolutions


def solution_level(subset: SolutionSet, resampling: Resampling) -> dict[str, Any]:
    """Solution-level figures of a subset, JSON-ready; a solution without an error is right."""
    return solution_section(
        _judged(subset), resamples=resampling.resamples, seed=seed_for(resampling.seed, subset.name)
    )


def _judged(subset: SolutionSet) -> JudgedSolutions:
    """Those that were scored to their end; a benchmark's files and models say one confidence a step."""
    with_steps = [(solution, values) for solution, values in subset.measured if values]
    scores = [np.array(values, np.float64) for _, values in with_steps]
    numbers: dict[str, int] = {}
    problem = [numbers.setdefault(problem_key(solution.tree), len(numbers)) for solution, _ in with_steps]
    is_right = np.array([solution.label == NO_ERROR for solution, _ in with_steps], np.bool_)
    left_out = {
        **dict.fromkeys(LEFT_OUT, 0),
        "without_score": subset.solutions_not_measured,
        "without_steps": len(subset.measured) - len(with_steps),
    }
    return JudgedSolutions(scores, scores, is_right, np.array(problem, np.int64), left_out)

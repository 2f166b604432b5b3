"""How often the answers that were chosen are right, for each way of choosing and each N, with intervals.

Of independent solutions every figure is an expectation over all N-subsets (`surestep.metrics.benchmarks.choices`);
pass@N is the unbiased estimator of Chen et al. (Evaluating large language models trained on code, 2021, eq. 1).
Solutions of a search depend on each other, so of them only all together are measured. Knows rows as `surestep generate`
writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from surestep.data.benchmarks.answers import answer_name, comparison, group_equivalent
from surestep.inference.generation.candidates import CHOICES
from surestep.metrics.benchmarks.aggregation import AGGREGATIONS, SCORE_WITHOUT_STEPS, aggregate
from surestep.metrics.benchmarks.best_of_n import powers_up_to
from surestep.metrics.benchmarks.choices import NOTES, ProblemCandidates, measure_choices
from surestep.metrics.benchmarks.first_error import interval_json
from surestep.metrics.bootstrap.draws import DEFAULT_RESAMPLES, Draws
from surestep.metrics.columns import FloatArray

_WITH_SCORES = ("best_", "weighted_majority_")
_COLUMNS = ("chosen", "pass", *CHOICES)


def measure_accuracy(
    rows: Iterable[Mapping[str, Any]],
    *,
    is_search: bool,
    prefix: str = "",
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Accuracies of rows with gold answers; JSON-ready. None where no row has one.

    Args:
        rows: as `surestep generate` writes them.
        is_search: whether a problem's solutions come from a search.
        prefix: of the names of its columns.
        resamples: of the problems, for intervals.
        seed: of the resamples, and of subsets where they are drawn.
    """
    problems: list[ProblemCandidates] = []
    table: list[list[float]] = []
    counts = {"num_problems": 0, "without_gold_answer": 0, "without_candidates": 0, "stopped_early": 0}
    has_scores = False
    for row in rows:
        counts["num_problems"] += 1
        candidates = row[f"{prefix}candidates"]
        counts["stopped_early"] += row[f"{prefix}stopped"] is not None
        if row[f"{prefix}is_correct"] is None:
            counts["without_gold_answer"] += 1
            continue
        counts["without_candidates"] += not candidates
        has_scores = has_scores or any(candidate["confidences"] for candidate in candidates)
        table.append(_whole(row, candidates, prefix))
        if candidates:
            problems.append(_numbers(candidates))
    if not table:
        return None
    report: dict[str, Any] = {
        **counts,
        "answers": comparison(),
        "all_candidates": _shares(np.array(table), resamples, seed, has_scores=has_scores),
        "notes": {
            **NOTES,
            "chosen": "the answer that the row names, problems without candidates counted as wrong",
            "all_candidates": "of each problem's candidates as they are, ties as the rows have them",
            "truncated": "a solution that breaks off has score 0, and an answer only where it is marked as one",
        },
        "resampling": {"resamples": resamples, "seed": seed, "level": 0.95, "unit": "problem"},
    }
    if is_search or not problems:
        return report
    sizes = powers_up_to(max(map(len, problems)))
    by_n = {str(n): measure_choices(problems, n, resamples=resamples, seed=seed) for n in sizes}
    for section in () if has_scores else by_n.values():  # without scores these say nothing of a scorer
        methods = section["methods"]
        section["methods"] = {name: methods[name] for name in methods if not name.startswith(_WITH_SCORES)}
        if "answered_only" in section:
            silent = section["answered_only"]
            section["answered_only"] = {name: silent[name] for name in silent if not name.startswith(_WITH_SCORES)}
    return {**report, "by_n": by_n}


def _whole(row: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]], prefix: str) -> list[float]:
    """Whether the row's answer is right, whether any is, and that of each way of choosing."""
    right = {answer_name(candidate["answer"]) for candidate in candidates if candidate["correct"]}
    answers = row[f"{prefix}answers_by"]
    given = [answers.get(way) for way in CHOICES]
    ways = [float(answer is not None and answer_name(answer) in right) for answer in given]
    return [float(row[f"{prefix}is_correct"]), float(bool(right)), *ways]


def _shares(table: FloatArray, resamples: int, seed: int, *, has_scores: bool) -> dict[str, Any]:
    draws = Draws(len(table), resamples, seed).sums(table) / len(table)
    names = [name for name in _COLUMNS if has_scores or name in ("chosen", "pass", "majority")]
    return {
        name: {
            "accuracy": float(table[:, column].mean()),
            "interval": interval_json(draws[:, column]) if len(table) > 1 else None,
        }
        for column, name in enumerate(_COLUMNS)
        if name in names
    }


def _numbers(candidates: Sequence[Mapping[str, Any]]) -> ProblemCandidates:
    def score(candidate: Mapping[str, Any], how: str) -> float:
        values = candidate["confidences"]
        if candidate["truncated"] or not values or None in values:
            return SCORE_WITHOUT_STEPS
        return aggregate(np.array(values, np.float64), how)

    return ProblemCandidates(
        {how: np.array([score(candidate, how) for candidate in candidates]) for how in AGGREGATIONS},
        np.array([bool(candidate["correct"]) for candidate in candidates]),
        np.array(group_equivalent([candidate["answer"] for candidate in candidates]), np.int64),
        np.array([candidate["answer"] is not None for candidate in candidates]),
    )

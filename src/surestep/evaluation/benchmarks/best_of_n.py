"""Best-of-N: how often the candidate that the scores choose is right, beside the votes and the ceiling.

Every figure is an expectation over all N-subsets of a problem's candidates, then a mean over problems.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surestep.data.benchmarks.candidates import Candidate, CandidateSet, read_candidates
from surestep.data.records.bad_rows import BadRows
from surestep.data.records.reading_report import ReadReport
from surestep.data.trees.tree_builder import TreeBuilder
from surestep.errors import ConfigError, DataError
from surestep.evaluation.benchmarks.result_file import BenchmarkResult, Resampling, file_facts, find_data
from surestep.metrics.benchmarks.aggregation import AGGREGATIONS, aggregate
from surestep.metrics.benchmarks.best_of_n import (
    best_of_n,
    dense_answers,
    majority_vote,
    pass_at_n,
    powers_up_to,
)
from surestep.metrics.benchmarks.first_error import interval_json
from surestep.metrics.benchmarks.weighted_vote import (
    DRAWN_SUBSETS,
    ENUMERATION_LIMIT,
    choose_subsets,
    weighted_majority,
)
from surestep.metrics.bootstrap.draws import Draws
from surestep.metrics.columns import BoolArray, FloatArray, IntArray
from surestep.scoring.protocol import Scorer
from surestep.scoring.score_file import Confidences
from surestep.scoring.score_split import confidences_by_tree, score_trees
from surestep.scoring.stored_split import ProgressFactory, silent
from surestep.types import ROOT, ReasoningTree

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
class _Problem:
    """One problem's K candidates as numbers."""

    scores: dict[str, FloatArray]
    is_correct: BoolArray
    answers: IntArray

    def __len__(self) -> int:
        return len(self.is_correct)


def run_best_of_n(
    scorer: Scorer | None,
    data: Sequence[Path],
    *,
    sizes: Sequence[int] | None,
    resampling: Resampling,
    progress: ProgressFactory = silent,
    bad_rows: BadRows = "stop",
) -> BenchmarkResult:
    """Score every candidate of `data` and measure every way of choosing.

    Args:
        scorer: who scores the candidates; None: their confidences stand in `data`.
        data: files, or folders of files.
        sizes: the N to measure; None: 1, 2, 4, ... up to the smallest number of candidates. For a larger N the
            problems with fewer candidates are left out and counted.
        resampling: how intervals are made; its seed also draws subsets.
        progress: is told of every tree.
        bad_rows: see `read_rows`.

    Raises:
        ConfigError: no problem has as many candidates as an N asks for.
        DataError: a file is missing, malformed or empty, or a candidate has no confidences and there is no scorer.
    """
    paths = find_data(*data)
    reading = ReadReport()
    sets = read_candidates(paths, report=reading, bad_rows=bad_rows)
    if not sets:
        raise DataError("holds no candidates", path=paths[0])
    found = _given(sets, paths[0]) if scorer is None else score_candidates(scorer, sets, reading, progress)
    problems = [_numbers(candidates, values) for candidates, values in zip(sets, found, strict=True)]
    counts = [len(problem) for problem in problems]
    chosen = sorted(set(sizes)) if sizes else powers_up_to(min(counts))
    if chosen[-1] > max(counts):
        raise ConfigError(f"--n {chosen[-1]}: no problem has so many candidates; allowed: 1 to {max(counts)}")
    report: dict[str, Any] = {
        "benchmark": "best-of-n",
        **({"scores": "confidences given with the candidates"} if scorer is None else scorer.about()),
        "data": file_facts(paths),
        "reading": reading.to_dict(),
        "num_problems": len(sets),
        "num_candidates": {"smallest": min(counts), "largest": max(counts), "total": sum(counts)},
        "candidates_not_scored_to_the_end": sum(None in values for each in found for values in each),
        "sources": _sources(sets),
        "by_n": {str(n): _measure(problems, n, resampling) for n in chosen},
        "resampling": resampling.about(),
        "subsets": {"enumeration_limit": ENUMERATION_LIMIT, "drawn": DRAWN_SUBSETS, "seed": resampling.seed},
        "notes": NOTES,
    }
    return BenchmarkResult(report, list(_rows(sets, found)))


def candidate_tree(found: CandidateSet, report: ReadReport) -> tuple[ReasoningTree, list[list[int]]]:
    """All candidates as one tree, what they begin with in common only once; and each one's nodes from first to last.

    Raises:
        ValueError: the problem is empty.
    """
    builder = TreeBuilder(found.problem, id=found.id)
    paths = []
    for candidate in found.candidates:
        path: list[int] = []
        for step in candidate.steps:
            path.append(builder.add(step, path[-1] if path else ROOT))
        paths.append(path)
    report.count("shared_steps", sum(map(len, paths)) - len(builder))
    return builder.build(report), paths


def score_candidates(
    scorer: Scorer, sets: Sequence[CandidateSet], report: ReadReport, progress: ProgressFactory = silent
) -> list[list[Confidences]]:
    """Confidences of every step of every candidate; a problem's candidates are scored as one tree."""
    made = [candidate_tree(found, report) for found in sets]
    steps = score_trees(scorer, [tree for tree, _ in made], advance=progress("scoring candidates"))
    values = confidences_by_tree(steps)
    return [[[value[node] for node in path] for path in paths] for value, (_, paths) in zip(values, made, strict=True)]


def _given(sets: Sequence[CandidateSet], data: Path) -> list[list[Confidences]]:
    for found in sets:
        for number, candidate in enumerate(found.candidates, start=1):
            if candidate.confidences is None and candidate.steps:
                raise DataError(
                    f"candidate {number} of {found.id!r} has no 'confidences'; give them to all candidates, or name "
                    "--checkpoint FOLDER to score them",
                    path=data,
                )
    return [[list(candidate.confidences or ()) for candidate in found.candidates] for found in sets]


def _numbers(found: CandidateSet, values: Sequence[Confidences]) -> _Problem:
    scored = [np.array([v for v in steps if v is not None], np.float64) for steps in values]
    return _Problem(
        {how: np.array([aggregate(steps, how) for steps in scored]) for how in AGGREGATIONS},
        np.array([candidate.is_correct for candidate in found.candidates]),
        dense_answers([candidate.answer for candidate in found.candidates]),
    )


def _measure(problems: Sequence[_Problem], n: int, resampling: Resampling) -> dict[str, Any]:
    enough = [problem for problem in problems if len(problem) >= n]
    rows, errors, drawn = [], [], 0
    for number, problem in enumerate(enough):
        subsets = choose_subsets(len(problem), n, seed=(resampling.seed, number, n))
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
    draws = Draws(len(table), resampling.resamples, resampling.seed).sums(table) / len(table)
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
    """Accuracy of one column of `table` [G, methods], and what it is above the majority vote, with intervals."""
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


def _sources(sets: Sequence[CandidateSet]) -> dict[str, Any]:
    """Accuracy of each system that wrote candidates, where they are named."""
    by_name: dict[str, list[bool]] = {}
    for found in sets:
        for candidate in found.candidates:
            by_name.setdefault(candidate.source, []).append(candidate.is_correct)
    if set(by_name) == {""}:
        return {}
    return {
        name: {"num_candidates": len(right), "accuracy": sum(right) / len(right)} for name, right in by_name.items()
    }


def _rows(sets: Sequence[CandidateSet], values: Sequence[Sequence[Confidences]]) -> Iterator[dict[str, Any]]:
    """In the layout that is read: what was scored here may be measured again without the model."""
    for found, each in zip(sets, values, strict=True):
        candidates = [_row(candidate, steps) for candidate, steps in zip(found.candidates, each, strict=True)]
        yield {"problem": found.problem, "id": found.id, "candidates": candidates}


def _row(candidate: Candidate, values: Confidences) -> dict[str, Any]:
    scored = [value for value in values if value is not None]
    row: dict[str, Any] = {"correct": candidate.is_correct, "confidences": scored}
    if len(scored) == len(candidate.steps):
        row["steps"] = list(candidate.steps)
    if candidate.answer is not None:
        row["answer"] = candidate.answer
    return row | ({"source": candidate.source} if candidate.source else {})

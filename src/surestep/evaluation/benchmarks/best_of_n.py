"""Best-of-N: how often the candidate that the scores choose is right, beside the votes and the ceiling.

Every figure is an expectation over all N-subsets of a problem's candidates, then a mean over problems.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from surestep.metrics.benchmarks.best_of_n import dense_answers, powers_up_to
from surestep.metrics.benchmarks.choices import NOTES, ProblemCandidates, measure_choices
from surestep.metrics.benchmarks.weighted_vote import DRAWN_SUBSETS, ENUMERATION_LIMIT
from surestep.scoring.protocol import Scorer
from surestep.scoring.score_file import Confidences
from surestep.scoring.score_split import confidences_by_tree, score_trees
from surestep.scoring.stored_split import ProgressFactory, silent
from surestep.types import ROOT, ReasoningTree


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
        "by_n": {
            str(n): measure_choices(problems, n, resamples=resampling.resamples, seed=resampling.seed) for n in chosen
        },
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


def _numbers(found: CandidateSet, values: Sequence[Confidences]) -> ProblemCandidates:
    scored = [np.array([v for v in steps if v is not None], np.float64) for steps in values]
    return ProblemCandidates(
        {how: np.array([aggregate(steps, how) for steps in scored]) for how in AGGREGATIONS},
        np.array([candidate.is_correct for candidate in found.candidates]),
        dense_answers([candidate.answer for candidate in found.candidates]),
    )


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

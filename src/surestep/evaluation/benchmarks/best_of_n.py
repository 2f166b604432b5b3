"""Best-of-N: how often the candidate that the scores choose is right, beside the votes and the ceiling.

Every figure is an expectation over all N-subsets of a problem's candidates, then a mean over problems.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from surestep.data.benchmarks.answers import INSTALL, comparison, group_equivalent, kinds_of, needs_math_verify
from surestep.data.benchmarks.candidates import SOLUTION_RULE, Candidate, CandidateSet, read_candidates
from surestep.data.records.bad_rows import BadRows
from surestep.data.records.reading_report import ReadReport
from surestep.data.trees.tree_builder import TreeBuilder
from surestep.errors import ConfigError, DataError
from surestep.evaluation.benchmarks.candidate_predictions import CandidateScores, score_from_file
from surestep.evaluation.benchmarks.result_file import BenchmarkResult, Resampling, file_facts, find_data
from surestep.metrics.benchmarks.aggregation import AGGREGATIONS, aggregate
from surestep.metrics.benchmarks.best_of_n import powers_up_to
from surestep.metrics.benchmarks.choices import GIVEN, NOTES, ProblemCandidates, measure_choices
from surestep.metrics.benchmarks.weighted_vote import ENUMERATION_LIMIT, drawn_subsets
from surestep.scoring.protocol import Scorer
from surestep.scoring.score_file import Confidences, FileScorer
from surestep.scoring.score_split import confidences_by_tree, score_trees
from surestep.scoring.stored_split import ProgressFactory, silent
from surestep.types import ROOT, ReasoningTree


def run_best_of_n(
    scorer: Scorer | CandidateScores | None,
    data: Sequence[Path],
    *,
    sizes: Sequence[int] | None,
    resampling: Resampling,
    progress: ProgressFactory = silent,
    bad_rows: BadRows = "stop",
    split_rule: str = SOLUTION_RULE,
) -> BenchmarkResult:
    """Score every candidate of `data` and measure every way of choosing.

    Args:
        scorer: who scores the candidates; None: their confidences or scores stand in `data`.
        data: files, or folders of files.
        sizes: the N to measure; None: 1, 2, 4, ... up to the smallest number of candidates. For a larger N the
            problems with fewer candidates are left out and counted.
        resampling: how intervals are made; its seed also draws subsets.
        progress: is told of every tree.
        bad_rows: see `read_rows`.
        split_rule: by which solutions that are given whole become steps; see `split_steps`.

    Raises:
        ConfigError: no problem has as many candidates as an N asks for, or answers must be compared as mathematics and
            math-verify is not installed.
        DataError: a file is missing, malformed or empty, or a candidate has no confidences and there is no scorer.
    """
    paths = find_data(*data)
    reading = ReadReport()
    sets = read_candidates(paths, report=reading, bad_rows=bad_rows, split_rule=split_rule)
    if not sets:
        raise DataError("holds no candidates", path=paths[0])
    _refuse_unreadable(sets)
    found, given = _scored(scorer, sets, paths[0], reading, progress)
    problems = [_numbers(*each) for each in zip(sets, found, given, strict=True)]
    counts = [len(problem) for problem in problems]
    chosen = sorted(set(sizes)) if sizes else powers_up_to(min(counts))
    if chosen[-1] > max(counts):
        raise ConfigError(f"--n {chosen[-1]}: no problem has so many candidates; allowed: 1 to {max(counts)}")
    votes = [candidate.vote for found_set in sets for candidate in found_set.candidates]
    report: dict[str, Any] = {
        "benchmark": "best-of-n",
        **({"scores": "given with the candidates"} if scorer is None else scorer.about()),
        "data": file_facts(paths),
        "reading": reading.to_dict(),
        "split_rule": split_rule,
        "num_problems": len(sets),
        "num_candidates": {"smallest": min(counts), "largest": max(counts), "total": sum(counts)},
        "candidates_without_answer": sum(vote is None for vote in votes),
        "answers": {"comparison": comparison(), "distinct_by_kind": kinds_of(votes)},
        "candidates_not_scored_to_the_end": sum(None in values for each in found for values in each or ()),
        "sources": _sources(sets),
        "by_n": {
            str(n): measure_choices(problems, n, resamples=resampling.resamples, seed=resampling.seed) for n in chosen
        },
        "resampling": resampling.about(),
        "subsets": {
            "enumeration_limit": ENUMERATION_LIMIT,
            "drawn": drawn_subsets(len(sets)),
            "seed": resampling.seed,
        },
        "notes": NOTES,
    }
    return BenchmarkResult(report, list(_rows(sets, found, given)))


_Given = list[float] | None
"""The scores that are given for a problem's candidates as a whole; None where there are none."""


def _refuse_unreadable(sets: Sequence[CandidateSet]) -> None:
    """A figure does not hang on what is installed."""
    asked = needs_math_verify(candidate.vote for found in sets for candidate in found.candidates)
    if asked is not None:
        raise ConfigError(
            f"the answer {asked[:60]!r} must be compared as mathematics, and math-verify is not installed; needed: "
            f"{INSTALL}"
        )


def _scored(
    scorer: Scorer | CandidateScores | None,
    sets: Sequence[CandidateSet],
    data: Path,
    reading: ReadReport,
    progress: ProgressFactory,
) -> tuple[Sequence[list[Confidences] | None], Sequence[_Given]]:
    """Of each problem the confidences of its candidates' steps, and the scores given for candidates as a whole."""
    if isinstance(scorer, CandidateScores):
        pairs = [scorer.of(found) for found in sets]
        return [confidences for confidences, _ in pairs], [scores for _, scores in pairs]
    given = [_scores_in_data(found, data) for found in sets]
    nothing: list[_Given] = [None] * len(sets)
    in_data = any(map(_has_confidences, sets))
    if scorer is None and not in_data and None not in given:
        return [None] * len(sets), given
    if any(one is not None for one in given):
        reading.note("the candidates' 'score' is not used: there are confidences of their steps")
    if scorer is None:
        return _confidences_in_data(sets, data), nothing
    how = score_from_file if isinstance(scorer, FileScorer) else score_candidates
    return how(scorer, sets, reading, progress), nothing


def _has_confidences(found: CandidateSet) -> bool:
    return any(candidate.confidences is not None for candidate in found.candidates)


def _scores_in_data(found: CandidateSet, data: Path) -> _Given:
    scores = [candidate.score for candidate in found.candidates]
    if None not in scores:
        return [score for score in scores if score is not None]
    if any(score is not None for score in scores):
        raise DataError(
            f"candidate {scores.index(None) + 1} of {found.id!r} has no 'score', and another one has; give all one",
            path=data,
        )
    return None


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


def _confidences_in_data(sets: Sequence[CandidateSet], data: Path) -> list[list[Confidences]]:
    for found in sets:
        for number, candidate in enumerate(found.candidates, start=1):
            if candidate.confidences is None and candidate.steps:
                raise DataError(
                    f"candidate {number} of {found.id!r} has no 'confidences'; give them to all candidates, or name "
                    "--checkpoint FOLDER to score them",
                    path=data,
                )
    return [[list(candidate.confidences or ()) for candidate in found.candidates] for found in sets]


def _numbers(found: CandidateSet, values: Sequence[Confidences] | None, given: _Given) -> ProblemCandidates:
    scores = {}
    if values is not None:
        scored = [np.array([v for v in steps if v is not None], np.float64) for steps in values]
        scores = {how: np.array([aggregate(steps, how) for steps in scored]) for how in AGGREGATIONS}
    if given is not None:
        scores[GIVEN] = np.array(given, np.float64)
    votes = [candidate.vote for candidate in found.candidates]
    return ProblemCandidates(
        scores,
        np.array([candidate.is_correct for candidate in found.candidates]),
        np.array(group_equivalent(votes), np.int64),
        np.array([vote is not None for vote in votes]),
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


def _rows(
    sets: Sequence[CandidateSet], values: Sequence[list[Confidences] | None], given: Sequence[_Given]
) -> Iterator[dict[str, Any]]:
    """In the layout that is read: what was scored here may be measured again without the model."""
    for found, each, scores in zip(sets, values, given, strict=True):
        candidates = [
            _row(candidate, None if each is None else each[place], None if scores is None else scores[place])
            for place, candidate in enumerate(found.candidates)
        ]
        yield {"problem": found.problem, "id": found.id, "candidates": candidates}


def _row(candidate: Candidate, values: Confidences | None, score: float | None) -> dict[str, Any]:
    row: dict[str, Any] = {"correct": candidate.is_correct}
    if values is not None:
        row["confidences"] = values
    if score is not None:
        row["score"] = score
    if values is None or len(values) == len(candidate.steps):
        row["steps"] = list(candidate.steps)
    if candidate.vote is not None:
        row["answer"] = candidate.vote
    return row | ({"source": candidate.source} if candidate.source else {})

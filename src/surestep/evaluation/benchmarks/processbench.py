"""ProcessBench: how often the first step below a threshold is the first wrong step, per subset and on average.

Thresholds are fixed beforehand: 0.5, one that the user gives, one chosen on other data. Data that is evaluated never
chooses its own threshold, unless the papers' protocol is asked for, whose table says what it was tuned on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from surestep.data.records.bad_rows import BadRows
from surestep.data.records.reading_report import ReadReport
from surestep.evaluation.benchmarks.first_error_data import PROCESSBENCH, SolutionSource
from surestep.evaluation.benchmarks.result_file import BenchmarkResult, Resampling, file_facts, find_data
from surestep.evaluation.benchmarks.solution_level import solution_level
from surestep.evaluation.benchmarks.solutions import SolutionSet, score_solutions
from surestep.evaluation.benchmarks.threshold import ThresholdData, choose, choose_as_the_papers
from surestep.metrics.benchmarks.first_error import (
    FirstErrorFigures,
    first_error_figures,
    mean_over_subsets,
    predicted_error,
)
from surestep.metrics.bootstrap.draws import seed_for
from surestep.scoring.protocol import Scorer
from surestep.scoring.score_file import Confidences
from surestep.scoring.stored_split import ProgressFactory, silent

DEFAULT_THRESHOLD = 0.5

Protocol = Literal["own", "paper"]
"""Whether the papers' way to a threshold is followed too."""

NOTES = {
    "prediction": (
        "the first step whose confidence is not above the threshold, else none: equal to it counts as wrong (`ties` "
        "has how many are)"
    ),
    "f1": "harmonic mean of the accuracy on erroneous and on correct solutions of the subset",
    "mean": "plain mean over subsets; mean_by_count weights each subset by its number of solutions",
    "blind": (
        "the highest F1 of a scorer that does not read and calls each step wrong with one chance, best in hindsight: "
        "what must be beaten"
    ),
    "unscored": (
        "a solution with a step that has no confidence (beyond the position limit, or null) is in no figure; "
        "solutions_not_measured counts them"
    ),
    "tuned_on": "subsets that chose the threshold: their figures, and means that hold them, are not of unseen data",
    "intervals": "95 %, percentile bootstrap over problems, each subset resampled apart; the threshold is held fixed",
}


def run_processbench(
    scorer: Scorer,
    data: Sequence[Path],
    *,
    threshold: float | None,
    threshold_data: ThresholdData | None,
    resampling: Resampling,
    protocol: Protocol = "own",
    progress: ProgressFactory = silent,
    bad_rows: BadRows = "stop",
    source: SolutionSource = PROCESSBENCH,
) -> BenchmarkResult:
    """Score every solution of `data` and measure at each threshold.

    Args:
        scorer: who scores `data`.
        data: files, or folders with one file for each subset.
        threshold: one that the user fixed, beside 0.5.
        threshold_data: other data to choose one on.
        resampling: how intervals are made.
        protocol: "paper" adds the threshold that the papers would choose, on an evaluated subset.
        progress: is told of every tree.
        bad_rows: see `read_rows`; of all files that are read.
        source: what `data` is and how it is read.

    Raises:
        ConfigError: the threshold's data holds solutions that are evaluated, or lacks right or wrong ones; the papers'
            subset is not in `data`.
        DataError: a file is missing, malformed or without solutions.
    """
    paths = find_data(*data)
    reading = ReadReport()
    solutions = source.read(paths, reading, bad_rows)
    chosen: list[dict[str, Any]] = [_fixed(DEFAULT_THRESHOLD, "fixed beforehand")]
    if threshold is not None and threshold != DEFAULT_THRESHOLD:
        chosen.append(_fixed(threshold, "given with --threshold; how it was chosen is not known"))
    if threshold_data is not None:
        chosen.append(choose(threshold_data, paths, solutions, progress, bad_rows=bad_rows))
    subsets = score_solutions(scorer, solutions, progress)
    if protocol == "paper":
        chosen.append(choose_as_the_papers(subsets))
    report: dict[str, Any] = {
        "benchmark": source.benchmark,
        **source.about(paths),
        **scorer.about(),
        "data": file_facts(paths),
        "reading": reading.to_dict(),
        "protocol": protocol,
        "solutions_not_measured": {subset.name: subset.solutions_not_measured for subset in subsets},
        "steps_not_scored": {subset.name: subset.steps_not_scored for subset in subsets},
        "blind": {subset.name: subset.blind() for subset in subsets},
        "solution_level": {subset.name: solution_level(subset, resampling) for subset in subsets},
        "thresholds": [{**how, **_measure(subsets, how, resampling)} for how in chosen],
        "resampling": resampling.about(),
        "notes": NOTES,
    }
    return BenchmarkResult(report, _rows(subsets, [how["threshold"] for how in chosen]))


def _fixed(threshold: float, how: str) -> dict[str, Any]:
    return {"threshold": threshold, "how": how}


def _measure(subsets: Sequence[SolutionSet], how: Mapping[str, Any], resampling: Resampling) -> dict[str, Any]:
    threshold, tuned = how["threshold"], how.get("tuned_on", [])
    found = {
        subset.name: first_error_figures(
            subset.first_errors(),
            threshold,
            resamples=resampling.resamples,
            seed=seed_for(resampling.seed, subset.name),
        )
        for subset in subsets
    }
    sections = {subset.name: _section(subset, found[subset.name], threshold) for subset in subsets}
    every = list(found.values())
    unseen = [figures for name, figures in found.items() if name not in tuned]
    return {
        "ties": sum(section["ties"] for section in sections.values()),
        "subsets": sections,
        "mean": mean_over_subsets(every, by_count=False),
        "mean_by_count": mean_over_subsets(every, by_count=True),
        **({"mean_of_unseen": mean_over_subsets(unseen, by_count=False)} if tuned and unseen else {}),
    }


def _section(subset: SolutionSet, figures: FirstErrorFigures, threshold: float) -> dict[str, Any]:
    undefined = {}
    measured = " that was scored to its end" if subset.solutions_not_measured else ""
    for kind in ("erroneous", "correct"):
        if not figures.counts[f"num_{kind}"]:
            undefined[f"accuracy_{kind}"] = undefined["f1"] = f"the subset has no {kind} solution{measured}"
    return {**figures.section(), "undefined": undefined, "ties": subset.num_ties(threshold)}


def _rows(subsets: Sequence[SolutionSet], thresholds: Sequence[float]) -> list[dict[str, Any]]:
    return [
        {
            "subset": subset.name,
            "id": solution.tree.id,
            "confidences": values,
            "label": solution.label,
            "predictions": {str(threshold): _predicted(values, threshold) for threshold in thresholds},
            "problem": solution.tree.problem,
        }
        for subset in subsets
        for solution, values in zip(subset.solutions, subset.confidences, strict=True)
    ]


def _predicted(values: Confidences, threshold: float) -> int | None:
    """None where the solution is in no figure."""
    known = [value for value in values if value is not None]
    return predicted_error(known, threshold) if len(known) == len(values) else None

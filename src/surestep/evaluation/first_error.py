"""ProcessBench: how often the first step below a threshold is the first wrong step, per subset and on average.

Thresholds are fixed beforehand: 0.5, one that the user gives, one chosen on other data. Data that is evaluated never
chooses its own threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surestep.data.processbench import Solution, read_solutions
from surestep.data.report import ReadReport
from surestep.errors import ConfigError, DataError
from surestep.evaluation.benchmark_file import Resampling, file_facts, find_data
from surestep.evaluation.step_scores import Confidences, StepScores, ToScore
from surestep.metrics.first_error import (
    FirstErrorFigures,
    FirstErrors,
    blind_f1,
    choose_threshold,
    first_below,
    first_error_figures,
    first_errors,
    mean_over_subsets,
)
from surestep.metrics.percentile import seed_for

DEFAULT_THRESHOLD = 0.5

NOTES = {
    "prediction": "the first step whose confidence is below the threshold, else none",
    "f1": "harmonic mean of the accuracy on erroneous and on correct solutions of the subset",
    "mean": "plain mean over subsets; mean_by_count weights each subset by its number of solutions",
    "blind": (
        "the highest F1 of a scorer that does not read and calls each step wrong with one chance, best in hindsight: "
        "what must be beaten"
    ),
    "unscored": "a solution with a step beyond the position limit counts as missed, unless an earlier step decides it",
    "intervals": "95 %, percentile bootstrap over problems, each subset resampled apart; the threshold is held fixed",
}


@dataclass(frozen=True)
class ThresholdData:
    """Other data to choose the threshold on, and who scores it."""

    path: Path
    scores: StepScores


@dataclass
class FirstErrorResult:
    """The content of `processbench.json`, and each solution's confidences with what was predicted."""

    report: dict[str, Any]
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class _Subset:
    name: str
    solutions: list[Solution]
    confidences: list[Confidences]

    def first_errors(self) -> FirstErrors:
        problems: dict[str, int] = {}
        return first_errors(
            self.confidences,
            [solution.label for solution in self.solutions],
            [problems.setdefault(solution.tree.problem_key, len(problems)) for solution in self.solutions],
        )

    def blind(self) -> dict[str, float] | None:
        found = blind_f1([s.label for s in self.solutions], [len(s.tree.nodes) for s in self.solutions])
        return None if found is None else {"f1": found[0], "chance": found[1]}

    @property
    def steps_not_scored(self) -> int:
        return sum(value is None for values in self.confidences for value in values)


def run_processbench(
    scores: StepScores,
    data: Sequence[Path],
    *,
    threshold: float | None,
    threshold_data: ThresholdData | None,
    resampling: Resampling,
) -> FirstErrorResult:
    """Score every solution of `data` and measure at each threshold.

    Args:
        scores: who scores `data`.
        data: files, or folders with one file for each subset.
        threshold: one that the user fixed, beside 0.5.
        threshold_data: other solutions in the same layout, to choose one on.
        resampling: how intervals are made.

    Raises:
        ConfigError: the threshold's data holds solutions that are evaluated, or lacks right or wrong ones.
        DataError: a file is missing, malformed or without solutions.
    """
    paths = find_data(*data)
    reading = ReadReport()
    solutions = _read(paths, reading)
    chosen: list[dict[str, Any]] = [_fixed(DEFAULT_THRESHOLD, "fixed beforehand")]
    if threshold is not None and threshold != DEFAULT_THRESHOLD:
        chosen.append(_fixed(threshold, "given with --threshold, which says nothing of how it was found"))
    if threshold_data is not None:
        chosen.append(_choose(threshold_data, paths, solutions))
    subsets = _score(scores, solutions)
    report: dict[str, Any] = {
        "benchmark": "processbench",
        **scores.about(),
        "data": file_facts(paths),
        "reading": reading.to_dict(),
        "steps_not_scored": {subset.name: subset.steps_not_scored for subset in subsets},
        "blind": {subset.name: subset.blind() for subset in subsets},
        "thresholds": [{**how, **_measure(subsets, how["threshold"], resampling)} for how in chosen],
        "resampling": resampling.about(),
        "notes": NOTES,
    }
    return FirstErrorResult(report, _rows(subsets, [how["threshold"] for how in chosen]))


def _fixed(threshold: float, how: str) -> dict[str, Any]:
    return {"threshold": threshold, "how": how}


def _read(paths: Sequence[Path], report: ReadReport) -> list[Solution]:
    solutions: list[Solution] = []
    for path in paths:
        before = len(solutions)
        solutions += read_solutions(path, report=report)
        if len(solutions) == before:
            raise DataError("holds no usable solution; " + "; ".join(report.lines()), path=path)
    return solutions


def _score(scores: StepScores, solutions: Sequence[Solution]) -> list[_Subset]:
    by_name: dict[str, list[Solution]] = {}
    for solution in solutions:
        by_name.setdefault(solution.subset, []).append(solution)
    return [
        _Subset(name, found, scores.score(name, [ToScore(name, solution.tree) for solution in found]))
        for name, found in by_name.items()
    ]


def _measure(subsets: Sequence[_Subset], threshold: float, resampling: Resampling) -> dict[str, Any]:
    found = [
        first_error_figures(
            subset.first_errors(),
            threshold,
            resamples=resampling.resamples,
            seed=seed_for(resampling.seed, subset.name),
        )
        for subset in subsets
    ]
    names = [subset.name for subset in subsets]
    return {
        "subsets": {name: _section(figures) for name, figures in zip(names, found, strict=True)},
        "mean": mean_over_subsets(found, by_count=False),
        "mean_by_count": mean_over_subsets(found, by_count=True),
    }


def _section(figures: FirstErrorFigures) -> dict[str, Any]:
    undefined = {}
    for kind in ("erroneous", "correct"):
        if not figures.counts[f"num_{kind}"]:
            undefined[f"accuracy_{kind}"] = undefined["f1"] = f"the subset has no {kind} solution"
    return {**figures.section(), "undefined": undefined}


def _choose(other: ThresholdData, paths: Sequence[Path], solutions: Sequence[Solution]) -> dict[str, Any]:
    """The threshold that serves `other` best; refused where it is what is evaluated."""
    files = find_data(other.path)
    facts = file_facts(files)
    evaluated = {fact["sha256"]: fact["path"] for fact in file_facts(paths)}
    for fact in facts:
        if fact["sha256"] in evaluated:
            raise ConfigError(
                f"--threshold-data {fact['path']} is the evaluated file {evaluated[fact['sha256']]} by content: a "
                "threshold is never tuned on what it is measured on; name other data"
            )
    reading = ReadReport()
    found = _read(files, reading)
    known = {_identity(solution) for solution in solutions}
    if shared := sum(_identity(solution) in known for solution in found):
        raise ConfigError(
            f"--threshold-data {other.path} holds {shared} of the evaluated solutions: a threshold is never tuned on "
            "what it is measured on; name other data"
        )
    subsets = _score(other.scores, found)
    try:
        best = choose_threshold([subset.first_errors() for subset in subsets])
    except ValueError:
        raise ConfigError(
            f"--threshold-data {other.path} has a subset without erroneous or without correct solutions, so that F1 "
            "has no value there; name data with both, or give --threshold"
        ) from None
    problems = {solution.tree.problem_key for solution in solutions}
    return {
        "threshold": best.threshold,
        "how": f"highest mean F1 on {other.path}",
        "chosen_on": facts,
        "num_solutions": len(found),
        "problems_shared_with_evaluated": len({solution.tree.problem_key for solution in found} & problems),
        "f1_there": best.f1,
        "equal_there": {"above": best.low, "up_to": best.high},
        "reading_there": reading.to_dict(),
        "scorer_there": {name: value for name, value in other.scores.about().items() if name.startswith("predictions")},
    }


def _identity(solution: Solution) -> tuple[str, tuple[str, ...]]:
    return solution.tree.problem_key, tuple(node.text.strip() for node in solution.tree.nodes)


def _rows(subsets: Sequence[_Subset], thresholds: Sequence[float]) -> list[dict[str, Any]]:
    return [
        {
            "subset": subset.name,
            "id": solution.tree.id,
            "confidences": values,
            "label": solution.label,
            "predictions": {str(threshold): first_below(values, threshold) for threshold in thresholds},
            "problem": solution.tree.problem,
        }
        for subset in subsets
        for solution, values in zip(subset.solutions, subset.confidences, strict=True)
    ]

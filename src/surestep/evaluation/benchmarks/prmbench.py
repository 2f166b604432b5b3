"""PRMBench: the PRM score of every category, of the three groups and over all, and the benchmark's other figures.

Knows one score a step, "is it right"; the benchmark also lets a scorer judge redundancy apart, which ours do not, and
which the benchmark's own result files may hold (`prmbench_results`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from surestep.data.benchmarks.prmbench import CATEGORIES, ORIGINAL, PrmbenchSolution, StepNumbers, read_prmbench
from surestep.data.records.bad_rows import BadRows
from surestep.data.records.reading_report import ReadReport
from surestep.errors import DataError
from surestep.evaluation.benchmarks.prmbench_figures import WITHOUT_WRONG_STEPS, Judged, PrmbenchFigures
from surestep.evaluation.benchmarks.prmbench_results import official_rows
from surestep.evaluation.benchmarks.result_file import BenchmarkResult, Resampling, file_facts, find_data
from surestep.metrics.benchmarks.first_error import num_ties
from surestep.scoring.protocol import Scorer
from surestep.scoring.score_file import Confidences
from surestep.scoring.score_split import confidences_by_tree, score_trees
from surestep.scoring.stored_split import ProgressFactory, silent
from surestep.types import ReasoningTree

DEFAULT_THRESHOLD = 0.5
"""That of the benchmark's own adapters."""

NOTES = {
    "prm_score": (
        "half F1 of the right steps, half F1 of the wrong steps (negative_f1); a step is called right above the "
        "threshold, so that one equal to it is called wrong (`ties` has how many are); "
        f"{WITHOUT_WRONG_STEPS} has no wrong step and scores its F1"
    ),
    "overall": "over all steps of all categories together, without the solutions before the change",
    "groups": "plain mean of the prm_score of the group's categories; null where one of them is not in the data",
    "overall_without_records_outside": "overall without the records whose error index is outside their steps",
    "all_right": "overall of a scorer that calls every step right: what must be beaten",
    "first_error_acc": "share of the first wrong steps that are called wrong",
    "total_step_acc": "share of all steps that are judged rightly",
    "similarity": (
        "mean distance between the share of steps called right in a changed solution and in the one before the change "
        "(0: the change is not seen); the one before is not compared where none of its steps is called right"
    ),
    "correct": "the solutions before the change, one for each record of redundency that holds it: all steps are right",
    "unscored": (
        "a solution with a step that has no confidence (beyond the position limit, or null) is in no figure; "
        "solutions_not_measured counts them"
    ),
    "official": "the figures under the names of the benchmark's own program, which writes -1 where there is none",
    "intervals": "95 %, percentile bootstrap over original problems, whose changed solutions stay together",
}


def run_prmbench(
    scorer: Scorer,
    data: Sequence[Path],
    *,
    threshold: float,
    resampling: Resampling,
    step_numbers: StepNumbers = "keep",
    progress: ProgressFactory = silent,
    bad_rows: BadRows = "stop",
) -> BenchmarkResult:
    """Score every changed solution of `data` (files, or folders of files), and those before the change, and measure.

    A file of confidences need not hold the solutions before the change: then there is no `correct` and no `similarity`.

    Raises:
        DataError: a file is missing, malformed or without solutions.
    """
    paths = find_data(*data)
    reading = ReadReport()
    solutions = list(read_prmbench(paths, report=reading, bad_rows=bad_rows, originals=True, step_numbers=step_numbers))
    if all(found.category == ORIGINAL for found in solutions):
        raise DataError("holds no usable solution; " + "; ".join(reading.lines()), path=paths[0])
    asked = [found for found in solutions if found.category != ORIGINAL or _is_known(scorer, found)]
    trees = [_of_subset(found) for found in asked]
    confidences = confidences_by_tree(score_trees(scorer, trees, advance=progress("scoring prmbench")))
    pairs = list(zip(asked, confidences, strict=True))
    judged = [Judged.at(s, values, threshold) for s, values in pairs if None not in values]
    figures = PrmbenchFigures.of(judged)
    num_changed = sum(found.category != ORIGINAL for found in asked)
    report: dict[str, Any] = {
        "benchmark": "prmbench",
        **scorer.about(),
        "threshold": threshold,
        "how": _how(scorer.about()),
        "step_numbers": step_numbers,
        "data": file_facts(paths),
        "reading": reading.to_dict(),
        "solutions_not_measured": len(asked) - len(judged),
        "steps_not_scored": sum(value is None for values in confidences for value in values),
        "originals_not_in_predictions": len(solutions) - len(asked),
        "ties": num_ties((values for _, values in pairs if None not in values), threshold),
        **figures.sections(resampling),
        "categories_not_in_data": [name for name in CATEGORIES if not any(s.category == name for s in solutions)],
        "official": figures.official(num_changed),
        "resampling": resampling.about(),
        "notes": NOTES,
    }
    return BenchmarkResult(
        report,
        _rows(asked, confidences),
        {"prmbench_official_scores": official_rows(pairs, threshold), "prmbench_official": [report["official"]]},
    )


@runtime_checkable
class _Holding(Protocol):
    """A scorer that has scores for some solutions only: a file."""

    def holds(self, tree: ReasoningTree) -> bool: ...


def _is_known(scorer: Scorer, solution: PrmbenchSolution) -> bool:
    return not isinstance(scorer, _Holding) or scorer.holds(_of_subset(solution))


def _of_subset(solution: PrmbenchSolution) -> ReasoningTree:
    """The tree as files of confidences name it; problems are told apart without it, across categories."""
    return replace(solution.tree, dataset=solution.category)


def _how(about: Mapping[str, Any]) -> str:
    if about.get("predictions_layout") == "prmbench" and about["predictions_are"] != "scores":
        return "the verdicts of the predictions' own file"
    return "given beforehand: nothing is tuned on the evaluated data"


def _rows(solutions: Sequence[PrmbenchSolution], confidences: Sequence[Confidences]) -> list[dict[str, Any]]:
    return [
        {
            "subset": solution.category,
            "id": solution.tree.id,
            "confidences": values,
            "labels": [node.confidence for node in solution.tree.nodes],
            "problem": solution.tree.problem,
        }
        for solution, values in zip(solutions, confidences, strict=True)
    ]

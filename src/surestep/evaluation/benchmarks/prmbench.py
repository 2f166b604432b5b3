"""PRMBench: the PRM score of every category, of the three groups, and over all steps.

Knows one score a step, "is it right"; the benchmark also lets a scorer judge redundancy apart, which ours do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from surestep.data.benchmarks.prmbench import CATEGORIES, GROUPS, PrmbenchSolution, read_prmbench
from surestep.data.records.bad_rows import BadRows
from surestep.data.records.reading_report import ReadReport
from surestep.data.trees.identity import problem_key
from surestep.errors import DataError
from surestep.evaluation.benchmarks.result_file import BenchmarkResult, Resampling, file_facts, find_data
from surestep.metrics.benchmarks.first_error import section_of
from surestep.metrics.benchmarks.step_errors import FIGURES, NUM_COUNTS, step_counts, step_figures
from surestep.metrics.bootstrap.draws import Draws, sums_by_problem
from surestep.metrics.columns import FloatArray
from surestep.scoring.protocol import Scorer
from surestep.scoring.score_file import Confidences
from surestep.scoring.score_split import confidences_by_tree, score_trees
from surestep.scoring.stored_split import ProgressFactory, silent

WITHOUT_WRONG_STEPS = "multi_solutions"
"""Its solutions are another right way each; the paper scores it by F1 alone."""

NOTES = {
    "prm_score": (
        "half F1 of the right steps, half F1 of the wrong steps (negative_f1); a step is called wrong below the "
        f"threshold; {WITHOUT_WRONG_STEPS} has no wrong step and scores its F1"
    ),
    "overall": "over all steps of all categories together",
    "groups": "plain mean of the prm_score of the group's categories; null where one of them is not in the data",
    "overall_without_records_outside": "overall without the records whose error index is outside their steps",
    "all_right": "overall of a scorer that calls every step right: what must be beaten",
    "intervals": "95 %, percentile bootstrap over original problems, whose changed solutions stay together",
}


def run_prmbench(
    scorer: Scorer,
    data: Sequence[Path],
    *,
    threshold: float,
    resampling: Resampling,
    progress: ProgressFactory = silent,
    bad_rows: BadRows = "stop",
) -> BenchmarkResult:
    """Score every changed solution of `data` (files, or folders of files) and measure.

    Raises:
        DataError: a file is missing, malformed or without solutions.
    """
    paths = find_data(*data)
    reading = ReadReport()
    solutions = list(read_prmbench(paths, report=reading, bad_rows=bad_rows))
    if not solutions:
        raise DataError("holds no usable solution; " + "; ".join(reading.lines()), path=paths[0])
    trees = [replace(found.tree, dataset=found.category) for found in solutions]  # the subset that files name
    confidences = confidences_by_tree(score_trees(scorer, trees, advance=progress("scoring prmbench")))
    table = _Table.build(solutions, confidences, threshold)
    report: dict[str, Any] = {
        "benchmark": "prmbench",
        **scorer.about(),
        "threshold": threshold,
        "how": "given beforehand: nothing is tuned on the evaluated data",
        "data": file_facts(paths),
        "reading": reading.to_dict(),
        "steps_not_scored": sum(value is None for values in confidences for value in values),
        **table.sections(resampling),
        "resampling": resampling.about(),
        "notes": NOTES,
    }
    return BenchmarkResult(report, _rows(solutions, confidences))


@dataclass(frozen=True, eq=False)
class _Table:
    """Counts of every solution (M of them), and what they are grouped by.

    Attributes:
        counts: float64 [M, 4], sums of `step_counts`.
        category: int64 [M], index into `CATEGORIES`.
        problem: int64 [M].
        outside: bool [M], whether an error index lay outside the steps.
    """

    counts: FloatArray
    category: np.ndarray[Any, np.dtype[np.int64]]
    problem: np.ndarray[Any, np.dtype[np.int64]]
    outside: np.ndarray[Any, np.dtype[np.bool_]]

    @classmethod
    def build(
        cls, solutions: Sequence[PrmbenchSolution], confidences: Sequence[Confidences], threshold: float
    ) -> _Table:
        problems: dict[str, int] = {}
        return cls(
            np.stack([_counts(s, values, threshold) for s, values in zip(solutions, confidences, strict=True)]),
            np.array([CATEGORIES.index(s.category) for s in solutions]),
            np.array([problems.setdefault(problem_key(s.tree), len(problems)) for s in solutions]),
            np.array([s.has_index_outside for s in solutions]),
        )

    def sections(self, resampling: Resampling) -> dict[str, Any]:
        """Figures with intervals of categories, groups and all steps."""
        wide = np.zeros((len(self.counts), len(CATEGORIES) + 1, NUM_COUNTS))
        wide[np.arange(len(self.counts)), self.category] = self.counts
        wide[~self.outside, -1] = self.counts[~self.outside]
        by_problem = sums_by_problem(self.problem, wide.reshape(len(wide), -1))
        shape = (-1, len(CATEGORIES) + 1, NUM_COUNTS)
        sums = by_problem.sum(axis=0).reshape(shape)
        draws = Draws(len(by_problem), resampling.resamples, resampling.seed).sums(by_problem).reshape(shape)
        present = [index for index in range(len(CATEGORIES)) if (self.category == index).any()]
        categories = {
            CATEGORIES[index]: {
                "num_solutions": int((self.category == index).sum()),
                **_steps(sums[0, index]),
                **_section(sums[:, index], draws[:, index], CATEGORIES[index]),
            }
            for index in present
        }
        overall = sums[:, :-1].sum(axis=1)
        return {
            "overall": {
                "num_solutions": len(self.counts),
                "num_problems": len(by_problem),
                **_steps(overall[0]),
                **_section(overall, draws[:, :-1].sum(axis=1)),
            },
            "groups": {name: _group(names, sums, draws) for name, names in GROUPS.items()},
            "members": {name: list(names) for name, names in GROUPS.items()},
            "categories": categories,
            "overall_without_records_outside": {
                "num_solutions": int((~self.outside).sum()),
                **_section(sums[:, -1], draws[:, -1]),
            },
            "all_right": _all_right(overall),
            "categories_not_in_data": [name for name in CATEGORIES if name not in categories],
        }


def _counts(solution: PrmbenchSolution, values: Confidences, threshold: float) -> FloatArray:
    """[4], over the steps that were scored."""
    scored = [
        (node.confidence == 1.0, value >= threshold)
        for node, value in zip(solution.tree.nodes, values, strict=True)
        if value is not None
    ]
    columns = np.array(scored, np.bool_).reshape(-1, 2)
    counts: FloatArray = step_counts(columns[:, 0], columns[:, 1]).sum(axis=0)
    return counts


def _steps(sums: FloatArray) -> dict[str, int]:
    return {"num_right_steps": int(sums[0] + sums[1]), "num_wrong_steps": int(sums[2] + sums[3])}


def _section(sums: FloatArray, draws: FloatArray, category: str = "") -> dict[str, object]:
    has_wrong = category != WITHOUT_WRONG_STEPS
    values = step_figures(sums, has_wrong_steps=has_wrong)
    return section_of(
        {name: float(values[name][0]) for name in FIGURES}, step_figures(draws, has_wrong_steps=has_wrong)
    )


def _group(names: Sequence[str], sums: FloatArray, draws: FloatArray) -> dict[str, object]:
    def score(rows: FloatArray) -> FloatArray:
        scores = [
            step_figures(rows[:, CATEGORIES.index(name)], has_wrong_steps=name != WITHOUT_WRONG_STEPS)["prm_score"]
            for name in names
        ]
        mean: FloatArray = np.mean(scores, axis=0)
        return mean

    return section_of({"prm_score": float(score(sums)[0])}, {"prm_score": score(draws)})


def _all_right(overall: FloatArray) -> dict[str, float | None]:
    right, wrong = overall[0, :2].sum(), overall[0, 2:].sum()
    values = step_figures(np.array([[right, 0.0, 0.0, wrong]]))
    return {name: None if np.isnan(value[0]) else float(value[0]) for name, value in values.items()}


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

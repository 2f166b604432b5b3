"""PRMBench's figures from verdicts: with intervals under our names, and under those of the benchmark's own program.

Knows solutions and verdicts; knows no scorer and no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from surestep.data.benchmarks.prmbench import CATEGORIES, GROUPS, ORIGINAL, PrmbenchSolution
from surestep.data.trees.identity import problem_key
from surestep.evaluation.benchmarks.result_file import Resampling
from surestep.metrics.benchmarks.first_error import section_of
from surestep.metrics.benchmarks.step_errors import (
    FIGURES,
    NUM_COUNTS,
    NUM_SOLUTION_SUMS,
    SOLUTION_FIGURES,
    solution_figures,
    solution_sums,
    step_counts,
    step_figures,
)
from surestep.metrics.bootstrap.draws import Draws, sums_by_problem
from surestep.metrics.columns import BoolArray, FloatArray, IntArray

WITHOUT_WRONG_STEPS = "multi_solutions"
"""Its solutions are another right way each; the paper scores it by F1 alone."""

_KINDS = (*CATEGORIES, ORIGINAL)
_NUM_SUMS = NUM_COUNTS + NUM_SOLUTION_SUMS

NOT_DEFINED = -1
"""What the benchmark's own program writes where a figure has no value."""


@dataclass(frozen=True, eq=False)
class Judged:
    """A solution and the verdict on each of its steps, bool [S]: whether it is called right."""

    solution: PrmbenchSolution
    called_right: BoolArray

    @classmethod
    def at(cls, solution: PrmbenchSolution, values: Sequence[float | None], threshold: float) -> Judged:
        """A step is called right where its confidence is above the threshold; each must have one."""
        return cls(solution, np.array(values, np.float64) > threshold)

    def sums(self, share_before: float | None) -> FloatArray:
        """[8]: what it adds to the sums of steps and of solutions."""
        is_right = np.array([node.confidence == 1.0 for node in self.solution.tree.nodes], np.bool_)
        steps = step_counts(is_right, self.called_right).sum(axis=0)
        whole = solution_sums(self.called_right, self.solution.first_error, share_before)
        return np.concatenate([steps, whole])


@dataclass(frozen=True, eq=False)
class PrmbenchFigures:
    """Sums of every solution (M of them), and what they are grouped by.

    Attributes:
        sums: float64 [M, 8].
        kind: int64 [M], index into the categories and `ORIGINAL`, the last.
        problem: int64 [M].
        outside: bool [M], whether an error index lay outside the steps.
    """

    sums: FloatArray
    kind: IntArray
    problem: IntArray
    outside: BoolArray

    @classmethod
    def of(cls, judged: Sequence[Judged]) -> PrmbenchFigures:
        """Of solutions of which every step has a verdict."""
        problems: dict[str, int] = {}
        shares = {
            one.solution.name: float(one.called_right.mean())
            for one in judged
            if one.solution.category == ORIGINAL and len(one.called_right)
        }
        sums = [
            one.sums(None if one.solution.category == ORIGINAL else shares.get(one.solution.name)) for one in judged
        ]
        return cls(
            np.array(sums, np.float64).reshape(-1, _NUM_SUMS),
            np.array([_KINDS.index(one.solution.category) for one in judged], np.int64),
            np.array([problems.setdefault(problem_key(one.solution.tree), len(problems)) for one in judged], np.int64),
            np.array([one.solution.has_index_outside for one in judged], np.bool_),
        )

    def sections(self, resampling: Resampling) -> dict[str, Any]:
        """Figures with intervals of categories, groups and all steps."""
        changed = self.kind < len(CATEGORIES)
        kept = changed & ~self.outside
        wide = np.zeros((len(self.sums), len(_KINDS) + 1, _NUM_SUMS))
        wide[np.arange(len(self.sums)), self.kind] = self.sums
        wide[kept, -1] = self.sums[kept]
        by_problem = sums_by_problem(self.problem, wide.reshape(len(wide), wide.shape[1] * _NUM_SUMS))
        shape = (-1, len(_KINDS) + 1, _NUM_SUMS)
        sums = by_problem.sum(axis=0).reshape(shape)
        # From no problem at all nothing can be drawn.
        resamples = resampling.resamples if len(by_problem) else 0
        draws = Draws(len(by_problem), resamples, resampling.seed).sums(by_problem).reshape(shape)
        per_kind = {
            name: {
                "num_solutions": int((self.kind == index).sum()),
                **_steps(sums[0, index]),
                **_section(sums[:, index], draws[:, index], name),
            }
            for index, name in enumerate(_KINDS)
            if (self.kind == index).any()
        }
        overall = sums[:, : len(CATEGORIES)].sum(axis=1)
        return {
            "overall": {
                "num_solutions": int(changed.sum()),
                "num_problems": len(np.unique(self.problem[changed])),
                **_steps(overall[0]),
                **_section(overall, draws[:, : len(CATEGORIES)].sum(axis=1)),
            },
            "groups": {name: _group(names, sums, draws) for name, names in GROUPS.items()},
            "members": {name: list(names) for name, names in GROUPS.items()},
            "categories": {name: section for name, section in per_kind.items() if name != ORIGINAL},
            "correct": per_kind.get(ORIGINAL),
            "overall_without_records_outside": {
                "num_solutions": int(kept.sum()),
                **_section(sums[:, -1], draws[:, -1]),
            },
            "all_right": _all_right(overall),
        }

    def official(self, num_changed: int) -> dict[str, Any]:
        """The figures as the benchmark's own program writes them, without its log of every solution.

        Args:
            num_changed: how many changed solutions the data holds, those that were not scored among them.
        """
        changed = self.kind < len(CATEGORIES)
        per_kind = {name: self.sums[self.kind == index].sum(axis=0) for index, name in enumerate(_KINDS)}
        per_kind = {name: sums for index, (name, sums) in enumerate(per_kind.items()) if (self.kind == index).any()}
        found = {name: _official(sums) for name, sums in per_kind.items()}
        total = _official(self.sums[changed].sum(axis=0))
        return {
            "total_hallucination_results": total,
            "hallucination_type_results": {
                figure: {name: values[figure] for name, values in found.items()} for figure in total
            },
            "validitiy_rate": int(changed.sum()) / num_changed,
        }


def _steps(sums: FloatArray) -> dict[str, int]:
    return {"num_right_steps": int(sums[0] + sums[1]), "num_wrong_steps": int(sums[2] + sums[3])}


def _section(sums: FloatArray, draws: FloatArray, category: str = "") -> dict[str, object]:
    has_wrong = category not in (WITHOUT_WRONG_STEPS, ORIGINAL)

    def figures(rows: FloatArray) -> dict[str, FloatArray]:
        steps = step_figures(rows[:, :NUM_COUNTS], has_wrong_steps=has_wrong)
        return steps | solution_figures(rows[:, NUM_COUNTS:])

    values = figures(sums)
    return section_of({name: float(values[name][0]) for name in (*FIGURES, *SOLUTION_FIGURES)}, figures(draws))


def _group(names: Sequence[str], sums: FloatArray, draws: FloatArray) -> dict[str, object]:
    def score(rows: FloatArray) -> FloatArray:
        scores = [
            step_figures(rows[:, _KINDS.index(name), :NUM_COUNTS], has_wrong_steps=name != WITHOUT_WRONG_STEPS)[
                "prm_score"
            ]
            for name in names
        ]
        mean: FloatArray = np.mean(scores, axis=0)
        return mean

    return section_of({"prm_score": float(score(sums)[0])}, {"prm_score": score(draws)})


def _all_right(overall: FloatArray) -> dict[str, float | None]:
    right, wrong = overall[0, :2].sum(), overall[0, 2:NUM_COUNTS].sum()
    values = step_figures(np.array([[right, 0.0, 0.0, wrong]]))
    return {name: None if np.isnan(value[0]) else float(value[0]) for name, value in values.items()}


def _official(sums: FloatArray) -> dict[str, float]:
    """The figures of sums [8] under the names of the benchmark's own program, by its own arithmetic."""
    right_kept, right_lost, wrong_found, wrong_missed, found, first, distance, compared = sums.tolist()
    total = right_kept + right_lost + wrong_found + wrong_missed
    recall = _ratio(right_kept, right_kept + right_lost)
    negative_recall = _ratio(wrong_found, wrong_found + wrong_missed)
    precision = _ratio(right_kept, right_kept + wrong_missed)
    negative_precision = _ratio(wrong_found, wrong_found + right_lost)
    return {
        "correct_step_acc": recall,
        "wrong_step_acc": negative_recall,
        "total_step_acc": _ratio(right_kept + wrong_found, total),
        "first_error_acc": _ratio(found, first),
        "similarity": _ratio(distance, compared),
        "precision": precision,
        "recall": recall,
        "f1": _ratio(2 * precision * recall, precision + recall),
        "negative_precision": negative_precision,
        "negative_recall": negative_recall,
        "negative_f1": _ratio(2 * negative_precision * negative_recall, negative_precision + negative_recall),
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else NOT_DEFINED

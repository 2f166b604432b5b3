"""Solutions as written and in changed forms, scored by any `Scorer`: all forms of one problem as one tree.

Forms that begin alike share their steps, so a change near the end costs little. Knows texts and a scorer; knows no
figure.

Shapes: `T` steps of a form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from surestep.data.records.reading_report import ReadReport
from surestep.data.trees.tree_builder import TreeBuilder
from surestep.evaluation.hackability.perturbation import Step
from surestep.metrics.columns import FloatArray
from surestep.scoring.protocol import Scorer
from surestep.scoring.score_split import confidences_by_tree, score_trees
from surestep.types import ROOT, ReasoningTree


@dataclass(frozen=True, slots=True)
class Forms:
    """One solution's texts.

    Attributes:
        original: as it was written.
        changed: by perturbation; None where it cannot be made.
    """

    original: Sequence[Step]
    changed: Mapping[str, Sequence[Step] | None]


@dataclass(frozen=True, slots=True)
class ProblemForms:
    """A problem and the solutions of it that are scored."""

    problem: str
    solutions: Sequence[Forms]
    id: str = ""
    group: str = ""
    dataset: str = ""


@dataclass(frozen=True, slots=True)
class ScoredForms:
    """One solution's confidences.

    Attributes:
        original: float64 [T], None where a step is beyond the scorer's limit.
        changed: the same by perturbation, for each that could be made.
        not_possible: names of those that could not.
    """

    original: FloatArray | None
    changed: Mapping[str, FloatArray | None] = field(default_factory=dict)
    not_possible: tuple[str, ...] = ()


def score_forms(scorer: Scorer, problems: Sequence[ProblemForms]) -> tuple[list[list[ScoredForms]], int]:
    """The confidences of every form of every solution of each problem, and how many steps were scored for them."""
    made = [_tree(problem) for problem in problems]
    values = confidences_by_tree(score_trees(scorer, [tree for tree, _ in made]))
    found = [
        [
            ScoredForms(
                _along(original, scores),
                {name: _along(path, scores) for name, path in changed.items() if path is not None},
                tuple(name for name, path in changed.items() if path is None),
            )
            for original, changed in paths
        ]
        for scores, (_, paths) in zip(values, made, strict=True)
    ]
    return found, sum(len(tree.nodes) for tree, _ in made)


_Paths = list[tuple[list[int], dict[str, list[int] | None]]]
"""Where the forms of each solution stand in the problem's tree."""


def _tree(problem: ProblemForms) -> tuple[ReasoningTree, _Paths]:
    builder = TreeBuilder(problem.problem, id=problem.id, group=problem.group)
    paths: _Paths = []
    for forms in problem.solutions:
        original = _add(builder, forms.original)
        changed = {name: None if steps is None else _add(builder, steps) for name, steps in forms.changed.items()}
        paths.append((original, changed))
    return replace(builder.build(ReadReport()), dataset=problem.dataset), paths


def _add(builder: TreeBuilder, steps: Sequence[Step]) -> list[int]:
    path: list[int] = []
    for text, context in steps:
        path.append(builder.add(text, path[-1] if path else ROOT, context=context))
    return path


def _along(path: Sequence[int], scores: Sequence[float | None]) -> FloatArray | None:
    """The confidences along a path; None where a step has none."""
    found = [value for index in path if (value := scores[index]) is not None]
    return np.array(found, np.float64) if len(found) == len(path) else None

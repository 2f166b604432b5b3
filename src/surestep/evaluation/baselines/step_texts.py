"""What a baseline that reads text sees of a step: the problem, the step before, the step, and its position.

Knows rows of predictions and trees; knows no model and no figure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from surestep.evaluation.baselines.simple import step_depths
from surestep.types import ROOT, ReasoningTree


@dataclass(slots=True)
class StepTexts:
    """Columns of equal length, one entry a labelled step.

    Attributes:
        problem, previous, step: texts; `previous` is empty for a first step, or where it is not known.
        position: depth of the step, from 1.
    """

    problem: list[str] = field(default_factory=list)
    previous: list[str] = field(default_factory=list)
    step: list[str] = field(default_factory=list)
    position: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.step)

    def add(self, problem: str, previous: str, step: str, position: int) -> None:
        """One more step."""
        self.problem.append(problem)
        self.previous.append(previous)
        self.step.append(step)
        self.position.append(position)

    def take(self, rows: Sequence[int]) -> StepTexts:
        """The entries at `rows`."""
        return StepTexts(
            [self.problem[row] for row in rows],
            [self.previous[row] for row in rows],
            [self.step[row] for row in rows],
            [self.position[row] for row in rows],
        )

    def digest(self) -> str:
        """A hash of all of it."""
        found = hashlib.sha256()
        for columns in zip(self.problem, self.previous, self.step, self.position, strict=True):
            found.update("\0".join(map(str, columns)).encode("utf-8", "surrogatepass") + b"\1")
        return found.hexdigest()


def texts_of_rows(rows: Iterable[Mapping[str, Any]]) -> StepTexts | None:
    """The texts of the labelled rows of a predictions file, in order; None where one has no text.

    The step before is found by `parent` where rows have it and `step`.
    """
    known: dict[tuple[str, str, Any], str] = {}
    labelled: list[Mapping[str, Any]] = []
    for row in rows:
        text = row.get("text")
        if isinstance(text, str) and "step" in row:
            known[(*_problem_of(row), row["step"])] = text
        if row.get("label") is not None:
            if not isinstance(text, str):
                return None
            labelled.append(row)
    found = StepTexts()
    for row in labelled:
        previous = known.get((*_problem_of(row), row.get("parent")), "")
        found.add(str(row.get("problem", "")), previous, row["text"], int(row.get("position", 1)))
    return found


def _problem_of(row: Mapping[str, Any]) -> tuple[str, str]:
    return str(row.get("dataset", "all")), str(row.get("problem_id", ""))


def add_tree(texts: StepTexts, labels: list[float], tree: ReasoningTree) -> None:
    """The labelled steps of `tree`, and their labels."""
    for depth, node in zip(step_depths(tree), tree.nodes, strict=True):
        if node.confidence is not None:
            previous = "" if node.parent == ROOT else tree.nodes[node.parent].text
            texts.add(tree.problem, previous, node.text, depth)
            labels.append(node.confidence)

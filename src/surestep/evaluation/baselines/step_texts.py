"""What a baseline that reads text sees of a step: the problem, the step before, the step, and its position.

Knows scored steps and training sets; knows no model and no figure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from surestep.scored import FIRST_STEP, ScoredSteps
from surestep.scoring.training_set import LabelledSteps, TrainingSet


@dataclass(slots=True)
class SeenSteps:
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

    def take(self, rows: Sequence[int]) -> SeenSteps:
        """The entries at `rows`."""
        return SeenSteps(
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


def seen_of_scored(steps: ScoredSteps) -> SeenSteps | None:
    """What is seen of the measured steps, in order; None where texts are not known."""
    texts = steps.texts
    if texts is None:
        return None
    places = zip(steps.tree.tolist(), steps.step.tolist(), strict=True)
    row_of = {place: row for row, place in enumerate(places)}
    found = SeenSteps()
    for row in np.flatnonzero(~np.isnan(steps.label) & ~np.isnan(steps.confidence)).tolist():
        before = row_of.get((int(steps.tree[row]), int(steps.parent[row])))
        previous = "" if before is None else texts.step(before)
        found.add(texts.problem(row), previous, texts.step(row), int(steps.position[row]))
    return found


def seen_of_training(training: TrainingSet, labelled: LabelledSteps, rows: Sequence[int]) -> SeenSteps:
    """What is seen of the steps at `rows` of `labelled`, those of `training`."""
    store, found = training.store, SeenSteps()
    for row in rows:
        tree, step, parent = int(labelled.tree[row]), int(labelled.step[row]), int(labelled.parent[row])
        previous = "" if parent == FIRST_STEP else store.step_text(tree, parent)
        found.add(store.problem_text(tree), previous, store.step_text(tree, step), int(labelled.position[row]))
    return found

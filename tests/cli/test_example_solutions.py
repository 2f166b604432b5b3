"""The demo's examples: which ones are shown depends on the data, never on the scores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from surestep.cli.output.example_solutions import example_lines
from surestep.scored import FIRST_STEP, ListedTexts, ScoredSteps

TREES: list[tuple[str, list[float], list[int]]] = [
    ("branches", [1.0, 1.0, 1.0], [FIRST_STEP, 0, 0]),
    ("short", [1.0], [FIRST_STEP]),
    ("two wrong", [0.0, 1.0, 0.0], [FIRST_STEP, 0, 1]),
    ("by chance", [1.0, 0.3], [FIRST_STEP, 0]),
    ("right", [1.0, 1.0], [FIRST_STEP, 0]),
    ("right again", [1.0, 1.0], [FIRST_STEP, 0]),
    ("a mistake", [1.0, 0.0, 1.0], [FIRST_STEP, 0, 1]),
]


def scored(confidence: float) -> ScoredSteps:
    names = [name for name, truth, _ in TREES for _ in truth]
    truth = np.array([value for _, values, _ in TREES for value in values])
    columns: dict[str, Any] = {
        "tree": np.array([number for number, (_, values, _) in enumerate(TREES) for _ in values]),
        "step": np.array([step for _, values, _ in TREES for step in range(len(values))]),
        "parent": np.array([parent for _, _, parents in TREES for parent in parents]),
        "tree_ids": [name for name, _, _ in TREES],
    }
    texts = ListedTexts(names, [f"step of {name}" for name in names])
    steps = ScoredSteps.of_columns(
        np.full(len(truth), confidence), truth.round(), true_confidence=truth, problem=names, texts=texts
    )
    return replace(steps, **columns)


@pytest.mark.parametrize("confidence", [0.1, 0.9])
def test_one_of_each_kind_is_shown_whatever_its_scores(confidence: float) -> None:
    lines = list(example_lines(scored(confidence)))
    titles = [line for line in lines if not line.startswith(" ")]
    assert titles == [
        "one step is a matter of chance, at a rate that it states: by chance",
        "every step is right: right",
        "one step is wrong: a mistake",
    ]
    assert lines[1:3] == [
        f"    {confidence:.2f}  (true 1.00)  step of by chance",
        f"    {confidence:.2f}  (true 0.30)  step of by chance",
    ]
    assert len(lines) == 3 + 2 + 2 + 3

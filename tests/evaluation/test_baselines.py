"""Baselines that read no text, against a plain loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from surestep.config import Config
from surestep.data.synthetic.arithmetic import generate_arithmetic
from surestep.encoding.formatter import Formatter
from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.encoding.step_columns import step_depths
from surestep.evaluation.baselines.simple import (
    POSITION_PSEUDO_COUNT,
    predict_by_position,
    predict_constant,
    predict_truth,
)
from surestep.scored import ScoredSteps
from surestep.scoring.examples_in_use import load_examples


@pytest.fixture
def steps() -> ScoredSteps:
    return ScoredSteps.of_columns(
        [0.1, 0.2, 0.3],
        [1.0, 0.0, 1.0],
        problem=["p", "p", "q"],
        position=[1, 2, 3],
        true_confidence=[1.0, 0.2, 0.7],
        dataset_names=("arithmetic",),
    )


@pytest.mark.slow
def test_position_is_the_smoothed_mean_of_the_labels_trained_on_at_each_depth(
    steps: ScoredSteps, run_config: Callable[..., Config]
) -> None:
    deepest = 2
    config: Any = run_config(
        use_own=False, use_arithmetic=True, arithmetic_problems=60, max_length=4096, max_steps_per_example=deepest
    )
    labels: dict[int, list[float]] = {}
    for tree in generate_arithmetic("train", num_problems=60, seed=config.training.seed):
        for index, node in enumerate(tree.nodes):
            assert node.confidence is not None
            if len(tree.path(index)) <= deepest:
                labels.setdefault(len(tree.path(index)), []).append(node.confidence)
    everything = [label for values in labels.values() for label in values]
    mean = sum(everything) / len(everything)
    expected = [
        (sum(labels[depth]) + POSITION_PSEUDO_COUNT * mean) / (len(labels[depth]) + POSITION_PSEUDO_COUNT)
        for depth in (1, 2)
    ]
    found = load_examples(
        config.data,
        load_tokenizer("builtin:tiny"),
        Formatter(),
        seed=config.training.seed,
        max_length=config.data.max_length,
    )
    # Nothing deeper was trained on: there the mean of all labels stands.
    assert predict_by_position(steps, found.training).confidence == pytest.approx([*expected, mean])


def test_depth_is_the_length_of_the_path() -> None:
    for tree in generate_arithmetic("train", num_problems=20, seed=0):
        assert step_depths(tree) == [len(tree.path(index)) for index in range(len(tree.nodes))]


def test_constant_and_truth(steps: ScoredSteps) -> None:
    assert predict_constant(steps, 0.25).confidence.tolist() == [0.25] * 3
    assert predict_truth(steps).confidence.tolist() == [1.0, 0.2, 0.7]
    unknown = ScoredSteps.of_columns(steps.confidence, steps.label, true_confidence=np.array([1.0, np.nan, 1.0]))
    with pytest.raises(ValueError, match="unknown"):
        predict_truth(unknown)

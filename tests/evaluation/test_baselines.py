"""Baselines that read no text, against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest

from surestep.config import Config
from surestep.data.synthetic.arithmetic import generate_arithmetic
from surestep.evaluation.baselines.simple import (
    POSITION_PSEUDO_COUNT,
    predict_by_position,
    predict_constant,
    predict_truth,
    step_depths,
)
from surestep.scored import ScoredSteps


@pytest.fixture
def predictions() -> ScoredSteps:
    return ScoredSteps.of_columns(
        confidence=np.array([0.1, 0.2, 0.3]),
        label=np.array([1.0, 0.0, 1.0]),
        dataset=np.array([0, 0, 0]),
        dataset_names=("arithmetic",),
        problem=np.array([0, 0, 1]),
        position=np.array([1, 2, 3]),
        true_confidence=np.array([1.0, 0.2, 0.7]),
    )


def test_position_is_the_smoothed_training_mean_of_each_depth(predictions: ScoredSteps) -> None:
    config = Config()
    config.data.use_prm800k = config.data.use_eqasc = False
    config.data.use_arithmetic = True
    config.data.arithmetic_problems = 60
    labels: dict[int, list[float]] = {}
    for tree in generate_arithmetic("train", num_problems=60, seed=config.training.seed):
        for index, node in enumerate(tree.nodes):
            assert node.confidence is not None
            labels.setdefault(len(tree.path(index)), []).append(node.confidence)
    everything = [label for values in labels.values() for label in values]
    mean = sum(everything) / len(everything)
    expected = [
        (sum(labels[depth]) + POSITION_PSEUDO_COUNT * mean) / (len(labels[depth]) + POSITION_PSEUDO_COUNT)
        for depth in (1, 2, 3)
    ]
    assert predict_by_position(predictions, config).confidence == pytest.approx(expected)


def test_depth_is_the_length_of_the_path() -> None:
    for tree in generate_arithmetic("train", num_problems=20, seed=0):
        assert step_depths(tree) == [len(tree.path(index)) for index in range(len(tree.nodes))]


def test_constant_and_truth(predictions: ScoredSteps) -> None:
    assert predict_constant(predictions, 0.25).confidence.tolist() == [0.25] * 3
    assert predict_truth(predictions).confidence.tolist() == [1.0, 0.2, 0.7]
    unknown = ScoredSteps.of_columns(
        confidence=predictions.confidence,
        label=predictions.label,
        dataset=predictions.dataset,
        dataset_names=predictions.dataset_names,
        problem=predictions.problem,
        position=predictions.position,
    )
    with pytest.raises(ValueError, match="unknown"):
        predict_truth(unknown)

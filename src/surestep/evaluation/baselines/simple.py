"""Baselines that read no text, fitted on a training split and measured on the steps that were scored."""

from __future__ import annotations

import numpy as np

from surestep.config import Config
from surestep.data.records.read_report import ReadReport
from surestep.data.sources.choose import enabled_sources
from surestep.metrics.baselines import position_baseline
from surestep.metrics.predictions import Predictions
from surestep.types import ROOT, ReasoningTree


def step_depths(tree: ReasoningTree) -> list[int]:
    """How many steps lead to each node, itself included: its position, from 1."""
    depths: list[int] = []
    for node in tree.nodes:
        depths.append(1 if node.parent == ROOT else depths[node.parent] + 1)
    return depths


def predict_by_position(predictions: Predictions, config: Config) -> Predictions:
    """The same steps, each with the mean training label at its position in its dataset."""
    confidence = predictions.confidence.copy()
    for source in enabled_sources(config.data, "train", seed=config.training.seed):
        if source.name not in predictions.dataset_names:
            continue
        positions: list[int] = []
        labels: list[float] = []
        for tree in source.read(ReadReport()):
            for depth, node in zip(step_depths(tree), tree.nodes, strict=True):
                if node.confidence is not None:
                    positions.append(depth)
                    labels.append(node.confidence)
        ours = predictions.dataset == predictions.dataset_names.index(source.name)
        confidence[ours] = position_baseline(np.array(positions), np.array(labels), predictions.position[ours])
    return predictions.with_confidence(confidence)


def predict_constant(predictions: Predictions, value: float) -> Predictions:
    """The same steps, all with one confidence."""
    return predictions.with_confidence(np.full(len(predictions), value))


def predict_truth(predictions: Predictions) -> Predictions:
    """The same steps with their true confidence: the best that any model can do.

    Raises:
        ValueError: it is not known for all of them.
    """
    if np.isnan(predictions.true_confidence).any():
        raise ValueError("the true confidence of some steps is unknown")
    return predictions.with_confidence(predictions.true_confidence)

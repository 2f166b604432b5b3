"""Scores of encoded trees as the columns that the metrics take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from surestep.encoding.encoded_tree import EncodedTree
from surestep.encoding.limits import LimitLoss
from surestep.scored import ScoredSteps
from surestep.scoring.model_scorer import StepScorer


@dataclass(frozen=True)
class PredictedSplit:
    """Predictions over several datasets, and the labels that the position limit left unscored in each."""

    predictions: ScoredSteps
    losses: dict[str, LimitLoss]


def predict_labelled(
    scorer: StepScorer,
    datasets: Mapping[str, Sequence[EncodedTree]],
    *,
    progress: Callable[[int], None] | None = None,
) -> PredictedSplit:
    """Score every labelled step of each dataset; each tree is a problem of its own number."""
    names = tuple(datasets)
    confidence, raw, label, dataset, problem, position = [], [], [], [], [], []
    losses = dict.fromkeys(names, LimitLoss())
    number = 0
    for index, name in enumerate(names):
        for scores in scorer.score_encoded(datasets[name], every_step=False, progress=progress):
            confidence.append(scores.confidence_S)
            raw.append(scores.raw_S)
            label.append(scores.label_S.astype(np.float64))
            dataset.append(np.full(len(scores.source_S), index))
            problem.append(np.full(len(scores.source_S), number))
            position.append(scores.depth_S.astype(np.int64))
            losses[name] += scores.loss
            number += 1
    predictions = ScoredSteps.of_columns(
        confidence=np.concatenate([*confidence, np.zeros(0)]),
        raw_confidence=np.concatenate([*raw, np.zeros(0)]),
        label=np.concatenate([*label, np.zeros(0)]),
        dataset=np.concatenate([*dataset, np.zeros(0, np.int64)]),
        dataset_names=names,
        problem=np.concatenate([*problem, np.zeros(0, np.int64)]),
        position=np.concatenate([*position, np.zeros(0, np.int64)]),
    )
    return PredictedSplit(predictions, losses)

"""The loss of labelled steps, and the weights that make a dataset's weight its share of the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

LossName = Literal["bce", "mse"]


def step_losses(logits_S: Tensor, labels_S: Tensor, loss: LossName) -> Tensor:
    """[S] loss of each step, in nats for `bce`.

    `bce` is -(y log p + (1 - y) log(1 - p)) with the soft label y as it is, p = sigmoid(logit); `mse` is (p - y)².
    Both are proper: their minimum in expectation is p = E[y].
    """
    if loss == "bce":
        return F.binary_cross_entropy_with_logits(logits_S, labels_S, reduction="none")
    return (torch.sigmoid(logits_S) - labels_S) ** 2


def label_weights(
    shares: Mapping[str, float],
    labels_per_example: Mapping[str, float],
    weighting: Literal["dataset", "step"],
) -> dict[str, float]:
    """Weight of one label of each dataset, fixed before training.

    A batch of E draws has the loss (1 / E) Σ weight · loss(step). With `dataset`, a label weighs 1 over the labels
    that an example of its dataset holds on average, so the expected loss is Σ share · (mean loss of the dataset):
    weights are shares of the loss. With `step`, every label weighs the same, and the expected weight is again 1.

    >>> label_weights({"a": 0.5, "b": 0.5}, {"a": 40.0, "b": 10.0}, "dataset")
    {'a': 0.025, 'b': 0.1}
    >>> label_weights({"a": 0.5, "b": 0.5}, {"a": 40.0, "b": 10.0}, "step")
    {'a': 0.04, 'b': 0.04}
    """
    if weighting == "dataset":
        return {name: 1.0 / labels_per_example[name] for name in shares}
    mean = sum(share * labels_per_example[name] for name, share in shares.items())
    return dict.fromkeys(shares, 1.0 / mean)

"""The loss of labelled steps, and the weights that make a dataset's weight its share of the loss.

What compares steps with each other stands in `comparisons`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from surestep.config.loss import LossName


def step_losses(
    logits_S: Tensor, labels_S: Tensor, loss: LossName, *, label_smoothing: float = 0.0, pos_weight: float = 1.0
) -> Tensor:
    """[S] loss of each step, in nats for `bce`.

    `bce` is -(y log p + (1 - y) log(1 - p)) with the soft label y as it is, p = sigmoid(logit); `mse` is (p - y)².
    Both are proper: their minimum in expectation is p = E[y]. `none` is 0.

    Label smoothing e takes (1 - e) y + e / 2 for y (Szegedy et al., 2016, with two classes), so the minimum
    is at (1 - e) E[y] + e / 2. The positive weight w makes `bce` -(w y log p + (1 - y) log(1 - p)), whose minimum has w
    times the odds of E[y].
    """
    if loss == "none":
        return 0.0 * logits_S  # a part of the graph, also where nothing is compared
    if label_smoothing > 0.0:
        labels_S = (1.0 - label_smoothing) * labels_S + label_smoothing / 2.0
    if loss == "mse":
        return (torch.sigmoid(logits_S) - labels_S) ** 2
    if pos_weight == 1.0:
        return F.binary_cross_entropy_with_logits(logits_S, labels_S, reduction="none")
    return pos_weight * labels_S * F.softplus(-logits_S) + (1.0 - labels_S) * F.softplus(logits_S)


def effective_ratings(num_ratings: NDArray[Any], correlation: float) -> NDArray[np.float64]:
    """How many independent ratings n ratings of one step are worth: n / (1 + (n - 1) rho), the design effect of Kish
    (1965) with intra-class correlation rho; a label that nobody rated counts as one rating.

    k ratings for and n - k against a step have the binomial likelihood p^k (1 - p)^(n - k), which is n times the
    cross-entropy with the label k / n: weighing labels so with rho = 0 is the binomial. With rho = 1 further ratings of
    the same step say nothing new, and every label counts once.

    >>> effective_ratings(np.array([0, 1, 3]), 0.0).tolist(), effective_ratings(np.array([0, 1, 3]), 1.0).tolist()
    ([1.0, 1.0, 3.0], [1.0, 1.0, 1.0])
    >>> effective_ratings(np.array([3]), 0.5).tolist()
    [1.5]
    """
    count = np.maximum(num_ratings, 1).astype(np.float64)
    found: NDArray[np.float64] = count / (1.0 + (count - 1.0) * correlation)
    return found


def label_weights(
    shares: Mapping[str, float],
    labels_per_example: Mapping[str, float],
    weighting: Literal["dataset", "step"],
) -> dict[str, float]:
    """Weight of one label of each dataset, fixed before training.

    A batch of E draws has the loss (1 / E) Σ weight · loss(step). With `dataset`, a label weighs 1 over the labels
    that an example of its dataset holds on average, so the expected loss is Σ share · (mean loss of the dataset):
    weights are shares of the loss. With `step`, every label weighs the same, and the expected weight is again 1.
    Where labels count as several (`effective_ratings`), `labels_per_example` counts them so.

    >>> label_weights({"a": 0.5, "b": 0.5}, {"a": 40.0, "b": 10.0}, "dataset")
    {'a': 0.025, 'b': 0.1}
    >>> label_weights({"a": 0.5, "b": 0.5}, {"a": 40.0, "b": 10.0}, "step")
    {'a': 0.04, 'b': 0.04}
    """
    if weighting == "dataset":
        return {name: 1.0 / labels_per_example[name] for name in shares}
    mean = sum(share * labels_per_example[name] for name, share in shares.items())
    return dict.fromkeys(shares, 1.0 / mean)

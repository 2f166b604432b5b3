"""The loss of a step, and dataset weights as shares of the loss."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from surestep.training.loss import label_weights, step_losses
from surestep.training.mixture import Mixture

LOGITS = [-30.0, -2.0, 0.0, 0.7, 30.0]
LABELS = [0.0, 0.25, 0.5, 1.0, 1.0]


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def test_bce_is_the_cross_entropy_with_the_soft_label() -> None:
    found = step_losses(torch.tensor(LOGITS, dtype=torch.float64), torch.tensor(LABELS, dtype=torch.float64), "bce")
    # log p = -log(1 + e^-x), log(1 - p) = -log(1 + e^x), written out.
    plain = [
        y * math.log1p(math.exp(-x)) + (1 - y) * math.log1p(math.exp(x)) for x, y in zip(LOGITS, LABELS, strict=True)
    ]
    assert found.tolist() == pytest.approx(plain, rel=1e-9, abs=1e-12)


def test_mse_is_the_squared_error_of_the_confidence() -> None:
    found = step_losses(torch.tensor(LOGITS, dtype=torch.float64), torch.tensor(LABELS, dtype=torch.float64), "mse")
    assert found.tolist() == pytest.approx([(sigmoid(x) - y) ** 2 for x, y in zip(LOGITS, LABELS, strict=True)])


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_a_confident_mistake_keeps_a_finite_loss_and_gradient(loss) -> None:
    logit = torch.tensor([80.0], requires_grad=True)
    value = step_losses(logit, torch.tensor([0.0]), loss).sum()
    value.backward()
    assert math.isfinite(float(value.detach()))
    assert logit.grad is not None
    assert math.isfinite(float(logit.grad))


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_the_loss_is_lowest_where_the_confidence_is_the_mean_label(loss) -> None:
    """Proper: over many labels the best constant is their mean."""
    labels = torch.tensor([1.0, 1.0, 0.0, 0.5, 0.8], dtype=torch.float64)
    grid = torch.linspace(0.01, 0.99, 981, dtype=torch.float64)
    means = [float(step_losses(torch.logit(p).expand(5), labels, loss).mean()) for p in grid]
    assert float(grid[int(np.argmin(means))]) == pytest.approx(float(labels.mean()), abs=0.001)


def simulated_shares(shares: dict[str, float], labels: dict[str, list[int]], weighting) -> dict[str, float]:
    """Share of the total label weight that each dataset gets over many drawn steps."""
    weights = label_weights(shares, {name: float(np.mean(counts)) for name, counts in labels.items()}, weighting)
    mixture = Mixture(shares, {name: len(counts) for name, counts in labels.items()}, seed=0)
    total = dict.fromkeys(shares, 0.0)
    for step in range(1500):
        for draw in mixture.draw(step, 16):
            total[draw.dataset] += weights[draw.dataset] * labels[draw.dataset][draw.example]
    return {name: value / 24_000 for name, value in total.items()}


SHARES = {"prm800k": 0.5, "reveal": 0.25, "eqasc": 0.25}
RNG = np.random.default_rng(0)
# Labels of a problem much as in the real data: about 48, 3 and 10 on average.
LABELS_OF = {
    "prm800k": RNG.integers(1, 96, 400).tolist(),
    "reveal": RNG.integers(1, 6, 150).tolist(),
    "eqasc": RNG.integers(5, 16, 300).tolist(),
}


def test_dataset_weights_are_shares_of_the_loss() -> None:
    found = simulated_shares(SHARES, LABELS_OF, "dataset")
    assert sum(found.values()) == pytest.approx(1.0, abs=0.02)
    for name, share in SHARES.items():
        assert found[name] == pytest.approx(share, abs=0.012)


def test_step_weighting_gives_every_label_the_same_weight() -> None:
    found = simulated_shares(SHARES, LABELS_OF, "step")
    expected = {name: share * float(np.mean(LABELS_OF[name])) for name, share in SHARES.items()}
    total = sum(expected.values())
    assert sum(found.values()) == pytest.approx(1.0, abs=0.02)
    for name in SHARES:
        assert found[name] == pytest.approx(expected[name] / total, abs=0.015)
    assert found["prm800k"] > 0.85  # what the default weighting is there to prevent

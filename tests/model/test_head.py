"""The head starts at the mean label and computes in float32."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from surestep.model.head import ConfidenceHead


@pytest.mark.parametrize("initial", [0.1, 0.5, 0.83])
@pytest.mark.parametrize("hidden_dims", [[], [16], [1024, 256]])
def test_an_untrained_head_predicts_the_initial_confidence(initial: float, hidden_dims: list[int]) -> None:
    torch.manual_seed(0)
    head = ConfidenceHead(64, hidden_dims, dropout=0.0, initial_confidence=initial)
    confidences = head(torch.randn(500, 64)).sigmoid()
    assert confidences.mean().item() == pytest.approx(initial, abs=0.02)
    assert confidences.std().item() < 0.05


@pytest.mark.parametrize("initial", [0.0, 1.0])
def test_a_certain_mean_label_still_starts_finite(initial: float) -> None:
    head = ConfidenceHead(8, [4], dropout=0.0, initial_confidence=initial)
    confidences = head(torch.randn(20, 8)).sigmoid()
    assert torch.isfinite(head.output.bias).all()
    assert (confidences - initial).abs().max() < 0.01


def test_layers_are_as_wide_as_asked_with_gelu_and_dropout_behind_each() -> None:
    head = ConfidenceHead(32, [1024, 256], dropout=0.1)
    assert [type(layer) for layer in head.hidden] == [nn.Linear, nn.GELU, nn.Dropout] * 2
    assert [tuple(layer.weight.shape) for layer in head.hidden if isinstance(layer, nn.Linear)] == [
        (1024, 32),
        (256, 1024),
    ]
    assert head.output.weight.shape == (1, 256)
    assert {layer.p for layer in head.hidden if isinstance(layer, nn.Dropout)} == {0.1}


def test_half_precision_around_it_does_not_reach_it() -> None:
    head = ConfidenceHead(16, [8], dropout=0.0)
    hidden = torch.randn(5, 16, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(hidden)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, head(hidden.float()))


def test_one_logit_a_step_and_none_without_steps() -> None:
    head = ConfidenceHead(16, [8], dropout=0.0)
    assert head(torch.randn(7, 16)).shape == (7,)
    assert head(torch.randn(0, 16)).shape == (0,)

"""How many tokens are planned for one training pass."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from surestep.scoring import token_budget as memory
from surestep.scoring.hardware import Hardware
from surestep.scoring.token_budget import activation_bytes_per_token, training_token_budget

CPU = Hardware(torch.device("cpu"), "no", ())
HALF = Hardware(torch.device("cpu"), "bf16", ())


@pytest.fixture(scope="module")
def model(build_small: Callable[..., Any]) -> Any:
    return build_small("llama").model


def qwen3_4b() -> Any:
    """The shape that the estimate was measured on."""
    shape = SimpleNamespace(
        hidden_size=2560,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        intermediate_size=9728,
        num_hidden_layers=36,
    )
    return SimpleNamespace(transformer=SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: shape)))


def test_the_estimate_is_near_what_was_measured() -> None:
    """115 GB at 16,384 tokens, 8 GB of which were weights: about 6.5 MB a token."""
    assert activation_bytes_per_token(qwen3_4b(), HALF, checkpointing=False) == pytest.approx(6.5e6, rel=0.05)


def test_recomputing_keeps_far_less() -> None:
    kept = [activation_bytes_per_token(qwen3_4b(), HALF, checkpointing=flag) for flag in (False, True)]
    assert kept[1] < kept[0] / 10


def test_float32_takes_twice_the_bytes(model: Any) -> None:
    single, half = (activation_bytes_per_token(model, hardware, checkpointing=False) for hardware in (CPU, HALF))
    assert single == 2 * half


@pytest.mark.parametrize(("free", "expected"), [(10**12, 5000), (0, 1)])
def test_the_budget_is_what_is_wanted_or_what_fits(model: Any, monkeypatch, free: int, expected: int) -> None:
    monkeypatch.setattr(memory, "_free_bytes", lambda _device: free)
    found = training_token_budget(model, CPU, checkpointing=False, wanted=5000, moment_bytes=0)
    assert found == expected


def test_trained_weights_take_their_share_of_the_memory(model: Any, monkeypatch) -> None:
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    per_token = activation_bytes_per_token(model, CPU, checkpointing=False)
    # A gradient and two moments of four bytes each, in 85 % of what is free.
    monkeypatch.setattr(memory, "_free_bytes", lambda _device: int((12 * trained + 300.5 * per_token) / 0.85))
    budget = training_token_budget(model, CPU, checkpointing=False, wanted=5000, moment_bytes=8 * trained)
    assert budget == 300

"""How many tokens are planned for one training pass."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from surestep.errors import DeviceError
from surestep.scoring import token_budget as memory
from surestep.scoring.hardware import Hardware
from surestep.scoring.token_budget import (
    ENOUGH_CUDA,
    MOST_SCORED,
    activation_bytes_per_token,
    enough_tokens,
    halved,
    scoring_bytes_per_token,
    scoring_token_budget,
    training_token_budget,
)

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
    head = SimpleNamespace(input=SimpleNamespace(reads_layers=False))
    transformer = SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: shape))
    return SimpleNamespace(transformer=transformer, head=head, is_fused=False)


PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "fit-a-gpu.md"


def peaks_of_lora() -> dict[int, float]:
    """Bytes by tokens a pass, as the page lists them for the 4B shape: of tensors, else what was taken of the GPU."""
    found = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        what, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        if what in {"LoRA", "LoRA, recorded passes", "LoRA, the default, recorded passes"} and len(cells) == 5:
            size = cells[1] or cells[2]
            if re.fullmatch(r"[\d.]+", size):
                found[int(cells[0].replace(",", ""))] = float(size) * 1e9
    return found


def test_what_fused_layers_keep_is_what_the_page_says_was_measured_of_long_passes() -> None:
    """And no less than it says of shorter ones, which are recorded."""
    model = qwen3_4b()
    model.is_fused = True
    peaks = peaks_of_lora()
    assert {1024, 4096, 5120, 8192, 12660, 16384} <= set(peaks)
    per_token = memory.kept_bytes_per_token(model, HALF, checkpointing=False)
    for tokens, peak in peaks.items():
        planned = 8.5e9 + tokens * per_token
        assert 0.99 * peak < planned < 1.2 * peak, tokens
        assert tokens < 12000 or planned < 1.03 * peak, tokens
    counted = activation_bytes_per_token(model, HALF, checkpointing=True)
    assert memory.kept_bytes_per_token(model, HALF, checkpointing=True) == counted, (
        "recomputed, they keep what is counted"
    )


def test_the_bound_is_near_what_was_measured_of_layers_that_are_not_fused() -> None:
    """115 GB at 16,384 tokens, 8 GB of which were weights: about 6.5 MB a token."""
    assert memory.kept_bytes_per_token(qwen3_4b(), HALF, checkpointing=False) == pytest.approx(6.5e6, rel=0.05)
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


@pytest.mark.parametrize("held", [0, 8 * 10**9], ids=["weights of nothing", "weights of 8 GB"])
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "not fused"])
def test_memory_of_weights_and_pass_follows_max_length(held: int, fused: bool) -> None:
    model = qwen3_4b()
    model.is_fused = fused
    per_token = memory.kept_bytes_per_token(model, HALF, checkpointing=False)

    def total(max_length: int) -> float:
        tokens = enough_tokens(max_length, held_bytes=held, bytes_per_token=per_token)
        assert tokens >= max_length, "the longest example fits"
        return held + tokens * per_token

    assert enough_tokens(2048, held_bytes=held, bytes_per_token=per_token) == ENOUGH_CUDA
    assert total(1024) / total(2048) == pytest.approx(0.5, rel=0.01)
    assert total(4096) / total(2048) == pytest.approx(2.0, rel=0.01)


def test_a_pass_on_a_gpu_follows_max_length_and_holds_what_is_wanted(model: Any, monkeypatch) -> None:
    monkeypatch.setattr(memory, "_free_bytes", lambda _device: 10**13)

    on_gpu = Hardware(torch.device("cuda"), "bf16", ())

    def budget(max_length: int, batch: int) -> int:
        return training_token_budget(
            model, on_gpu, checkpointing=False, wanted=batch * max_length, moment_bytes=0, max_length=max_length
        )

    short, usual, long = (budget(length, 4) for length in (1024, 2048, 4096))
    assert usual == ENOUGH_CUDA
    assert short < 0.51 * usual
    assert 1.99 * usual < long <= 4 * 4096
    assert [budget(length, 1) for length in (1024, 2048, 4096)] == [1024, 2048, 4096]


@pytest.mark.parametrize("tokens", [1, 77, 4000])
def test_a_scoring_pass_follows_the_free_memory(model: Any, monkeypatch, tokens: int) -> None:
    per_token = scoring_bytes_per_token(model, CPU)
    monkeypatch.setattr(memory, "_free_bytes", lambda _device: int((tokens + 0.5) * per_token / 0.85))
    assert scoring_token_budget(model, CPU) == tokens


@pytest.mark.parametrize(("free", "expected"), [(10**13, MOST_SCORED["cpu"]), (0, 1)])
def test_a_scoring_pass_has_a_most_and_a_least(model: Any, monkeypatch, free: int, expected: int) -> None:
    monkeypatch.setattr(memory, "_free_bytes", lambda _device: free)
    assert scoring_token_budget(model, CPU) == expected


def test_scoring_a_token_takes_far_less_than_training_on_it() -> None:
    scored, trained = (
        scoring_bytes_per_token(qwen3_4b(), HALF),
        activation_bytes_per_token(qwen3_4b(), HALF, checkpointing=False),
    )
    assert scored < trained / 20
    # 32,768 tokens of a 4B model in half precision fit beside its weights on a GPU of 16 GB.
    assert scored * MOST_SCORED["cuda"] < 7e9


def test_half_of_the_tokens_or_a_line() -> None:
    assert halved(64, may_shrink=True, doing="in a pass", advice="lower it") == 32
    for tokens, may_shrink in ((63, True), (4000, False)):
        with pytest.raises(DeviceError, match=f"out of memory with {tokens:,} tokens in a pass; lower it"):
            halved(tokens, may_shrink=may_shrink, doing="in a pass", advice="lower it")

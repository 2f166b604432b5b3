"""The probe lets through what scores packed trees right, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from backbones import FAMILIES, VOCABULARY
from surestep.errors import BackboneError
from surestep.model.attention import interface as attention
from surestep.model.attention import parity_probe, prepared_mask
from surestep.model.attention.dense_mask import DenseBlock
from surestep.model.attention.interface import register_tree_attention
from surestep.model.attention.parity_probe import probe_parity
from surestep.model.confidence_model import ConfidenceModel, Route
from surestep.model.fast.fused_attention import FusedAttention
from surestep.model.head import ConfidenceHead


def model_of(family: str, route: Route = "dense", *, seed: int = 0) -> ConfidenceModel:
    register_tree_attention()
    torch.manual_seed(seed)
    backbone = FAMILIES[family]()
    head = ConfidenceHead(32, [], dropout=0.0)
    own = backbone.config._attn_implementation or "eager"
    return ConfidenceModel(backbone, head, confidence_id=VOCABULARY - 1, route=route, own_attention=own)


@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral", "gemma3", "gpt2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_backbone_that_follows_the_mask_agrees(family: str, dtype: torch.dtype) -> None:
    result = probe_parity(model_of(family), dtype=dtype)
    assert result.agrees, result.cause
    assert result.error < (1e-5 if dtype == torch.float32 else 0.06)


@pytest.mark.parametrize("family", ["bloom", "mamba", "gemma2"])
def test_a_backbone_that_cannot_run_packed_trees_says_why(family: str) -> None:
    """Position biases, a state-space layer, capped attention scores."""
    result = probe_parity(model_of(family), dtype=torch.float32)
    assert not result.agrees
    assert "fails on them" in result.cause
    assert "\n" not in result.cause


def test_a_backbone_that_ignores_the_mask_is_noticed() -> None:
    model = model_of("llama")
    # It goes on with its own attention, as a backbone without transformers' attention interface does.
    model.transformer.set_attn_implementation("sdpa")
    model.transformer.set_attn_implementation = lambda _name: None
    result = probe_parity(model, dtype=torch.float32)
    assert not result.agrees
    assert "differ by" in result.cause


@pytest.mark.parametrize("wrong", ["sibling", "window", "not_causal"])
def test_a_mask_that_is_a_little_wrong_is_noticed(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = prepared_mask.dense_blocks

    def blocks(batch: Any, chain_B: Any, window: Any) -> Any:
        for block in right(batch, [False] * len(chain_B), window):
            mask = block.mask.clone()
            if wrong == "sibling":  # the token in front is always seen
                index = torch.arange(len(mask) - 1)
                mask[index + 1, index] = True
            elif wrong == "window":
                mask[:, 0] = False
                mask[0, 0] = True
            else:
                mask[:-1, 1:] |= torch.eye(len(mask) - 1, dtype=torch.bool)
            yield DenseBlock(block.start, block.end, block.keys, mask)

    monkeypatch.setattr(prepared_mask, "dense_blocks", blocks)
    assert not probe_parity(model_of("llama"), dtype=torch.float32).agrees


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("route", ["dense", "paths"])
@pytest.mark.parametrize("seed", range(3))
def test_an_encoder_that_reads_later_steps_is_refused(dtype: torch.dtype, route: Route, seed: int) -> None:
    model = model_of("bert", route, seed=seed)
    with pytest.raises(BackboneError, match="bidirectional"):
        probe_parity(model, dtype=dtype)


@pytest.mark.parametrize("in_training", [True, False])
def test_fused_layers_are_probed_as_they_score_and_as_they_train(
    in_training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of("qwen3")
    assert model.fuse_layers()
    assert probe_parity(model, dtype=torch.float32).agrees
    right = FusedAttention._split

    def wrong(self: Any, *args: Tensor) -> tuple[Tensor, ...]:
        query, key, value = right(self, *args)
        return (query.flip(2) if torch.is_grad_enabled() == in_training else query), key, value

    monkeypatch.setattr(FusedAttention, "_split", wrong)
    assert not probe_parity(model, dtype=torch.float32).agrees


@pytest.mark.parametrize("is_trained", [True, False])
@pytest.mark.parametrize("is_number", [True, False])
def test_gradients_of_fused_layers_are_run_where_something_is_trained(
    is_trained: bool, is_number: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their own operations', which the kernel of attention alone does not show; that needs a GPU, and is left out."""
    model = model_of("qwen3").requires_grad_(is_trained)
    assert model.fuse_layers()
    gradients: list[Tensor] = []
    right = FusedAttention._split

    def seen(of_value: Tensor) -> Tensor:
        gradients.append(of_value)
        return of_value if is_number else of_value * torch.nan

    def watched(self: Any, *args: Tensor) -> tuple[Tensor, ...]:
        query, key, value = right(self, *args)
        if value.requires_grad:
            value.register_hook(seen)
        return query, key, value

    monkeypatch.setattr(FusedAttention, "_split", watched)
    batch = parity_probe.random_trees(model, parity_probe.BRANCHES)
    with torch.enable_grad():
        hidden = parity_probe._hidden(model, batch, "dense")
    if is_trained and not is_number:
        with pytest.raises(RuntimeError, match="not finite"):
            parity_probe._run_backward(model, batch, hidden)
    else:
        parity_probe._run_backward(model, batch, hidden)
    assert len(gradients) == (len(model.transformer.layers) if is_trained else 0)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_probing_leaves_the_model_as_it_was() -> None:
    model = model_of("llama").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    probe_parity(model, dtype=torch.float32)
    assert model.training
    assert model.route == "dense"
    assert model.transformer.config._attn_implementation == attention.TREE_ATTENTION
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())

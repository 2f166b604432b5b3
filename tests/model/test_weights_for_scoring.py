"""Weights held as scoring reads them: merged adapters, and half precision where products take it anyway."""

from __future__ import annotations

import copy
import weakref

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import GPT2Config, Qwen2Config, Qwen3Config

from model.test_fused import CONFIGS, SHAPE, batch, make_model
from surestep.model.confidence_model import ConfidenceModel
from surestep.model.fast.adapters.adapters import CopiedAdapters
from surestep.model.fast.fuse import hold_in_fp8, projections
from surestep.model.fast.projection import FrozenWeights
from surestep.model.fast.weights_for_scoring import freeze, hold_in_half, merge_adapters
from surestep.model.saved_weights import is_adapted


def _logits(model: ConfidenceModel, *, half: bool = False) -> torch.Tensor:
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        found: torch.Tensor = model(batch())
    return found


@pytest.mark.slow
@pytest.mark.parametrize("fuse", [False, True], ids=["own", "fused"])
@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], "all-linear"], ids=["q and v", "all"])
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_merged_adapters_score_alike(config: object, targets: list[str] | str, fuse: bool) -> None:
    model = make_model(config, targets)
    expected = _logits(model)
    without = copy.deepcopy(model)
    for name, parameter in without.named_parameters():
        if "lora_B" in name:
            parameter.data.zero_()
    assert float((_logits(without) - expected).abs().max()) > 1e-3, "adapters matter here"
    if fuse:
        model.fuse_layers()
    merge_adapters(model)
    torch.testing.assert_close(_logits(model), expected, rtol=1e-4, atol=1e-5)
    assert not is_adapted(model)
    assert not any(isinstance(module, BaseTunerLayer) for module in model.modules()), "nothing of PEFT is left"
    if fuse:
        assert all(one.adapters is None for one in projections(model.transformer))
    model.set_route("paths")
    torch.testing.assert_close(_logits(model), expected, rtol=1e-4, atol=1e-4), "no adapter counts twice"


def test_merged_half_precision_weights_are_rounded_once() -> None:
    model = make_model(Qwen3Config(**SHAPE, head_dim=16), ["q_proj"])
    model.transformer.to(torch.bfloat16)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()
    model.fuse_layers()
    projection = next(projections(model.transformer))
    assert projection.adapters is not None
    adapter, size = projection.adapters.of_layers[0], projection.adapters.sizes[0]
    assert adapter is not None
    assert isinstance(projection.weights, FrozenWeights)
    base = torch.cat([layer.weight for layer in projection.layers]).float()
    rest = base[size:].bfloat16()
    exact = (base[:size] + adapter.scale * adapter.b @ adapter.a).detach()
    merge_adapters(model)
    assert type(projection.weights) is FrozenWeights
    weight = projection.weights.weight_ND
    assert weight.is_contiguous()
    assert weight.data_ptr() == projection.layers[0].weight.data_ptr(), "held once"
    assert torch.equal(weight[:size], exact.bfloat16())
    assert torch.equal(weight[size:], rest), "keys and values have no adapters"


def test_weights_that_lay_beside_adapters_are_given_up_as_these_are_merged() -> None:
    model = make_model(Qwen3Config(**SHAPE, head_dim=16), "all-linear")
    model.fuse_layers()
    _logits(model)  # as the probe does: passes keep what they read
    copies = [one.copies for one in projections(model.transformer)]
    held = [weakref.ref(one) for one in copies if one is not None]
    del copies
    merge_adapters(model)
    assert len(held) == 3 * 4
    assert all(one() is None for one in held)


@pytest.mark.parametrize("fuse_first", [True, False])
def test_a_copy_of_a_model_follows_its_own_adapters(fuse_first: bool) -> None:
    model = make_model(Qwen3Config(**SHAPE, head_dim=16), "all-linear")
    if fuse_first:
        model.fuse_layers()
    before = _logits(model)
    copied = copy.deepcopy(model)
    if not copied.is_fused:
        copied.fuse_layers()
    for name, parameter in copied.named_parameters():
        if "lora_B" in name:
            parameter.data.zero_()
    without = _logits(copied)
    assert float((without - before).abs().max()) > 1e-3, "adapters matter here"
    assert torch.equal(_logits(model), before), "the model keeps its own"
    merge_adapters(copied)
    torch.testing.assert_close(_logits(copied), without)


@pytest.mark.parametrize("targets", [["gate_proj"], "all-linear"], ids=["gate", "all"])
def test_gates_that_are_too_long_as_one_are_held_in_fp8_apart(
    targets: list[str] | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(Qwen3Config(**SHAPE | {"intermediate_size": 128}, head_dim=16), targets, dropout=0.5)
    model.fuse_layers()
    gates = model.transformer.layers[0].mlp.surestep_gates[0]
    for module in ("fuse", "projection"):
        monkeypatch.setattr(f"surestep.model.fast.{module}.LONGEST_ROW", gates.num_outputs // 2)
    x = torch.randn(7, gates.layers[0].in_features)
    _logits(model)  # copies are up to date
    together = gates(x, True)
    parts = gates.apart()
    CopiedAdapters([part.copies for part in parts if part.copies is not None]).bring_up_to_date()
    torch.testing.assert_close(torch.cat([part(x, True) for part in parts], 1), together)
    model.eval()
    expected = _logits(model)
    hold_in_fp8(model.transformer)
    assert [len(layer.mlp.surestep_gates) for layer in model.transformer.layers] == [2] * 3
    assert 0 < float((_logits(model) - expected).norm() / expected.norm()) < 0.5


@pytest.mark.parametrize("config", [Qwen2Config(**SHAPE), Qwen3Config(**SHAPE, head_dim=16)], ids=["bias", "none"])
def test_trained_weights_in_half_precision_score_exactly_as_before(config: object) -> None:
    model = make_model(config, None)
    model.fuse_layers()
    expected = _logits(model, half=True)
    size = sum(p.numel() * p.element_size() for p in model.transformer.layers.parameters())
    freeze(model)
    assert hold_in_half(model, torch.bfloat16)
    assert torch.equal(_logits(model, half=True), expected)
    assert sum(p.numel() * p.element_size() for p in model.transformer.layers.parameters()) < 0.51 * size
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not hold_in_half(model, torch.bfloat16), "a second time there is nothing to do"


def test_layers_of_other_families_and_float32_stay_as_they_are() -> None:
    other = make_model(GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=200), None)
    assert not other.fuse_layers()
    assert not hold_in_half(other, torch.bfloat16)
    model = make_model(Qwen3Config(**SHAPE, head_dim=16), None)
    model.fuse_layers()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert not hold_in_half(model, torch.float32)
    merge_adapters(model)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())

"""Fused layers compute what the family's own layers compute: outputs, gradients, and what is saved."""

from __future__ import annotations

import copy
import random
import statistics
from dataclasses import replace
from typing import Any

import pytest
import torch
from functorch.compile import make_boxed_func
from torch import Tensor, nn
from torch._dynamo.backends.common import aot_autograd
from transformers import AutoModel, LlamaConfig, MistralConfig, PreTrainedConfig, Qwen2Config, Qwen3Config

from strategies import CONFIDENCE_ID, encoded_tree
from surestep.config import LoraConfig
from surestep.encoding.packing import pack_trees
from surestep.model.attention.interface import register_tree_attention
from surestep.model.attention.prepared_mask import prepare_mask
from surestep.model.backbones.families import FAMILIES
from surestep.model.backbones.lora import add_adapters
from surestep.model.confidence_model import ConfidenceModel
from surestep.model.fast import fused_attention as fused
from surestep.model.fast.compile_layers import compile_layers
from surestep.model.fast.fuse import can_fuse, hold_in_fp8
from surestep.model.head import ConfidenceHead
from surestep.model.precision.fp8 import Fp8Weight
from surestep.model.precision.fp8_mlp import Fp8Mlp, quantise_gated, quantise_gated_gradient
from surestep.model.tree_batch import TreeBatch
from surestep.scoring.model_scorer import to_batch

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 200,
}
CONFIGS: list[PreTrainedConfig] = [
    LlamaConfig(**SHAPE),
    LlamaConfig(**SHAPE, attention_bias=True),
    MistralConfig(**SHAPE, sliding_window=6),
    Qwen2Config(**SHAPE),
    Qwen3Config(**SHAPE, head_dim=16),
]


def make_model(config: PreTrainedConfig, targets: list[str] | str | None, *, dropout: float = 0.0) -> ConfidenceModel:
    torch.manual_seed(0)
    register_tree_attention()
    backbone = AutoModel.from_config(config)
    if targets is not None:
        backbone = add_adapters(
            backbone, LoraConfig(use_lora=True, lora_r=3, lora_dropout=dropout, lora_target_modules=targets)
        )
        for name, parameter in backbone.named_parameters():
            if "lora_B" in name:  # they start at 0, where a wrong adapter would not be seen
                nn.init.normal_(parameter, std=0.1)
    return ConfidenceModel(backbone, ConfidenceHead(32, [8], dropout=0.0), confidence_id=CONFIDENCE_ID)


def batch() -> TreeBatch:
    rng = random.Random(1)
    shapes = [([-1, 0, 1, 1, 0], [5, 4, 3, 6, 2]), ([-1, 0, 1], [4, 9, 3])]
    return to_batch(pack_trees([encoded_tree(p, n, [1.0] * len(p), rng) for p, n in shapes]))


def scores_and_gradients(model: ConfidenceModel) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    logits = model(batch())
    (logits * torch.arange(1.0, len(logits) + 1)).sum().backward()
    return logits.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_alike(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Gradients up to the rounding of float32, beside the largest of their tensor."""
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        atol = 1e-5 + 1e-4 * gradient.abs().max().item()
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=atol, msg=lambda text, name=name: name + text)


def assert_fused_alike(own: ConfidenceModel) -> ConfidenceModel:
    """A fused copy, that scores and learns as the family's own layers do."""
    fused = copy.deepcopy(own)
    assert fused.fuse_layers()
    expected, expected_gradients = scores_and_gradients(own)
    found, gradients = scores_and_gradients(fused)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert_alike(gradients, expected_gradients)
    return fused


SOME_OF_AN_MLP = ["gate_proj", "down_proj"], ["gate_proj", "up_proj"], ["down_proj"]
"""Adapters of some layers, where those of all three are one operation."""


@pytest.mark.slow
@pytest.mark.parametrize("targets", SOME_OF_AN_MLP, ids=" and ".join)
def test_adapters_beside_some_of_an_mlp_score_and_learn_alike(targets: list[str]) -> None:
    assert_fused_alike(make_model(CONFIGS[-1], targets))


@pytest.mark.slow
@pytest.mark.parametrize("targets", [None, ["q_proj", "v_proj"], "all-linear"], ids=["full", "q and v", "all"])
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_fused_layers_score_and_learn_alike(config: PreTrainedConfig, targets: list[str] | str | None) -> None:
    own = make_model(config, targets)
    fused = assert_fused_alike(own)
    assert fused.state_dict().keys() == own.state_dict().keys(), "nothing else is saved"
    for name, value in own.state_dict().items():
        assert torch.equal(fused.state_dict()[name], value), name


@pytest.mark.parametrize("hidden", [7, 8, 16, 17, 80])
def test_an_mlp_of_any_width_scores_and_learns_alike_with_adapters(hidden: int) -> None:
    """Narrow ones as well, whose gate and up together have fewer outputs than inputs."""
    own = make_model(LlamaConfig(**SHAPE | {"intermediate_size": hidden}), "all-linear")
    fused = assert_fused_alike(own)
    for found, expected in zip(scores_and_gradients(copy.deepcopy(fused)), scores_and_gradients(fused), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("fuse", [False, True], ids=["own", "fused"])
@pytest.mark.parametrize("targets", [None, "all-linear"], ids=["full", "all"])
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_a_last_layer_of_wanted_rows_scores_and_learns_alike(
    config: PreTrainedConfig, targets: list[str] | str | None, fuse: bool
) -> None:
    own = make_model(config, targets)
    narrow = copy.deepcopy(own)
    if fuse:
        narrow.fuse_layers()
    assert narrow.narrow_layers()
    rows = []
    narrow.transformer.layers[-1].mlp.register_forward_hook(lambda _, inputs, __: rows.append(inputs[0].shape[-2]))
    expected, expected_gradients = scores_and_gradients(own)
    found, gradients = scores_and_gradients(narrow)
    assert rows == [16], "six steps, in a whole block; not all 33 tokens"
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert_alike(gradients, expected_gradients)
    assert narrow.state_dict().keys() == own.state_dict().keys(), "nothing else is saved"
    for model in (own, narrow):
        model.set_route("paths")
    torch.testing.assert_close(narrow(batch()), own(batch()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("narrowed", [False, True])
def test_gradient_checkpointing_changes_nothing_in_fused_layers(narrowed: bool) -> None:
    own = make_model(Qwen3Config(**SHAPE, head_dim=16), ["q_proj", "v_proj", "down_proj"])
    checkpointed = copy.deepcopy(own)
    checkpointed.fuse_layers()
    if narrowed:
        assert checkpointed.narrow_layers()
    checkpointed.transformer.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    handed: list[type] = []
    for layer in checkpointed.transformer.layers:
        layer.register_forward_pre_hook(lambda _, inputs: handed.append(type(inputs[0])))
    checkpointed.train()
    expected, expected_gradients = scores_and_gradients(own)
    found, gradients = scores_and_gradients(checkpointed)
    assert set(handed) == {Tensor}, "a sum in two parts would be kept twice"
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert_alike(gradients, expected_gradients)


@pytest.mark.parametrize("count", [0, 1, 16, 17, 32])
def test_a_last_layer_takes_any_number_of_wanted_rows(count: int) -> None:
    own = make_model(Qwen3Config(**SHAPE, head_dim=16), "all-linear")
    narrow = copy.deepcopy(own)
    narrow.fuse_layers()
    assert narrow.narrow_layers()
    assert narrow.narrow_layers(), "once more changes nothing"
    whole = batch()
    wanted = replace(whole, label_index_S=torch.arange(len(whole.tokens_P)).flip(0)[:count])
    found = narrow(wanted)
    assert found.shape == (count,)
    torch.testing.assert_close(found, own(wanted), rtol=1e-5, atol=1e-5)


def test_paths_still_run_through_the_familys_own_layers() -> None:
    own = make_model(Qwen3Config(**SHAPE, head_dim=16), ["q_proj", "k_proj"])
    fused = copy.deepcopy(own)
    fused.fuse_layers()
    for model in (own, fused):
        model.set_route("paths")
    torch.testing.assert_close(fused(batch()), own(batch()), rtol=1e-5, atol=1e-5)


def test_dropout_differs_between_passes_and_is_off_in_evaluation() -> None:
    model = make_model(LlamaConfig(**SHAPE), ["q_proj", "o_proj"], dropout=0.5)
    model.fuse_layers()
    model.train()
    assert not torch.equal(model(batch()), model(batch()))
    torch.manual_seed(3)
    first = model(batch())
    torch.manual_seed(3)
    assert torch.equal(model(batch()), first), "masks follow from the generator: a resumed run meets the same ones"
    model.eval()
    assert torch.equal(model(batch()), model(batch()))


@pytest.mark.slow
@pytest.mark.parametrize(("narrowed", "num_graphs"), [(False, 1), (True, 3)])
def test_a_compiled_layer_is_whole_and_takes_only_its_lengths_for_changing(
    monkeypatch: pytest.MonkeyPatch, narrowed: bool, num_graphs: int
) -> None:
    """A Python float that may change would be a tensor on the CPU, and a C++ program compiled for it at every start."""
    graphs: list[torch.fx.GraphModule] = []

    def record(graph: torch.fx.GraphModule, _: Any) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    model = make_model(Qwen3Config(**SHAPE | {"num_hidden_layers": 5}, head_dim=16), "all-linear", dropout=0.1)
    model.fuse_layers()
    if narrowed:
        assert model.narrow_layers()
    model.train()
    compile_layers(model.transformer, backend=record)
    # The kernel needs a GPU; what stands in for it is as opaque to the layer.
    monkeypatch.setattr(fused, "kernel_attention", lambda _, query, *__: query.squeeze(0).transpose(0, 1))
    lengths = set()
    for count in (1, 2, 3):
        trees = [encoded_tree([-1, 0, 0], [60, 40, 50], [1.0] * 3, random.Random(count)) for _ in range(count)]
        plan = prepare_mask(to_batch(pack_trees(trees)), "triton")
        lengths.add(len(plan.batch.tokens_P))
        model._packed(plan).sum().backward()
    assert len(lengths) == 3
    assert len(graphs) == num_graphs, "one for all lengths and layers; narrowed, others for the first and the last"
    inputs = [node.meta["example_value"] for graph in graphs for node in graph.graph.nodes if node.op == "placeholder"]
    assert any(isinstance(value, torch.SymInt) for value in inputs)
    assert not any(isinstance(value, float | torch.SymFloat) for value in inputs)
    assert not any(isinstance(value, Tensor) and value.dtype == torch.float64 for value in inputs)


@pytest.mark.slow
def test_sizes_that_are_equal_by_chance_are_not_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many wanted rows as a head has numbers: the next count must not need another compilation."""
    graphs: list[torch.fx.GraphModule] = []

    def record(graph: torch.fx.GraphModule, _: Any) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    model = make_model(Qwen3Config(**SHAPE, head_dim=16), ["q_proj"])
    model.fuse_layers()
    assert model.narrow_layers()
    compile_layers(model.transformer, backend=record)
    monkeypatch.setattr(fused, "kernel_attention", lambda _, query, *__: query.squeeze(0).transpose(0, 1))
    wanted = []
    for count in (2, 20, 30):
        trees = [encoded_tree([-1, 0, 0], [40, 30, 20], [1.0] * 3, random.Random(n)) for n in range(count)]
        plan = prepare_mask(to_batch(pack_trees(trees)), "triton")
        wanted.append(len(plan.batch.label_index_S))
        model._packed(plan).sum().backward()
    assert wanted[0] == 16 != wanted[1]
    assert len(graphs) == 3, "first, middle and last layers, once each"


def test_other_backbones_keep_their_own_layers() -> None:
    from transformers import GPT2Config

    model = make_model(GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=200), None)
    assert not can_fuse(model.transformer)
    assert not model.fuse_layers()
    assert not model.narrow_layers()
    assert torch.isfinite(model(batch())).all()
    assert len(FAMILIES) == 4


def test_fp8_products_are_near_the_exact_ones_forward_and_backward() -> None:
    """e4m3 keeps 4 significant bits: an error of at most 1 in 16 a factor, a few percent in the mean of many."""
    torch.manual_seed(0)
    x, weight = torch.randn(40, 64, requires_grad=True), torch.randn(96, 64) * torch.logspace(-3, 3, 96)[:, None]
    found = Fp8Weight(weight)(x)
    expected = x @ weight.t()
    # Row by row: a scale of its own for every output, however small the row.
    error = (found - expected).norm(dim=0) / expected.norm(dim=0)
    assert error.max() < 0.08
    assert error.min() > 1e-4, "it is rounded"
    upstream = torch.randn_like(expected)
    (gradient,) = torch.autograd.grad(found, x, upstream)
    exact = upstream @ weight
    assert (gradient - exact).norm() / exact.norm() < 0.08


def test_an_mlp_in_fp8_is_near_the_exact_one_forward_and_backward() -> None:
    torch.manual_seed(0)
    x = torch.randn(40, 64, requires_grad=True)
    gate, up, down = torch.randn(96, 64) / 8, torch.randn(96, 64) / 8, torch.randn(64, 96) / 10
    found = Fp8Mlp(gate, up, down)(x)
    expected = (nn.functional.silu(x @ gate.t()) * (x @ up.t())) @ down.t()
    assert 1e-4 < (found - expected).norm() / expected.norm() < 0.08
    upstream = torch.randn_like(expected)
    (gradient,) = torch.autograd.grad(found, x, upstream)
    (exact,) = torch.autograd.grad(expected, x, upstream)
    assert 1e-4 < (gradient - exact).norm() / exact.norm() < 0.1
    # Nearly linear gates: what is left is the rounding of products, and a wrong derivative would be far off.
    assert nn.functional.cosine_similarity(gradient.flatten(), exact.flatten(), dim=0) > 0.995


def test_gates_gradients_are_those_of_autograd() -> None:
    torch.manual_seed(0)
    joined = (3 * torch.randn(20, 2 * 48)).requires_grad_()
    product = nn.functional.silu(joined[:, :48]) * joined[:, 48:]
    small, scale = quantise_gated(joined.detach())
    torch.testing.assert_close(small.float() * scale, product.detach(), rtol=0.07, atol=0.01)
    upstream = torch.randn_like(product)
    (expected,) = torch.autograd.grad(product, joined, upstream)
    small, scale = quantise_gated_gradient(joined.detach(), upstream)
    assert small.shape == joined.shape
    assert scale.shape == (20, 1)
    torch.testing.assert_close(small.float() * scale, expected, rtol=0.07, atol=0.01 * float(expected.abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("targets", "whole"), [(["q_proj"], True), (["q_proj", "down_proj"], False)], ids=["attention", "mlp"]
)
def test_an_mlp_in_fp8_compiles_and_keeps_no_zeros_for_gradients(
    targets: list[str], whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(Qwen3Config(**SHAPE, head_dim=16), targets)
    model.fuse_layers()
    hold_in_fp8(model.transformer)
    assert [layer.mlp.surestep_fp8 is not None for layer in model.transformer.layers] == [whole] * 3
    expected, expected_gradients = scores_and_gradients(model)
    programs: list[str] = []

    def record(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        programs.append(graph.code)
        return make_boxed_func(graph.forward)

    backend = aot_autograd(fw_compiler=record, bw_compiler=record)
    compile_layers(model.transformer, backend=backend)
    found, gradients = scores_and_gradients(model)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert_alike(gradients, expected_gradients)
    assert any("fp8_mlp_backward" in program for program in programs) == whole
    assert not any("zeros" in program or "full" in program for program in programs if "fp8_mlp_backward" in program)


def test_only_frozen_weights_are_held_in_fp8() -> None:
    model = make_model(Qwen3Config(**SHAPE, head_dim=16), ["q_proj"])
    model.fuse_layers()
    with torch.no_grad():
        exact = model(batch())
    hold_in_fp8(model.transformer)
    logits = model(batch())
    assert 0 < float((logits.detach() - exact).norm() / exact.norm()) < 0.5
    logits.sum().backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if "lora_" in name)
    full = make_model(Qwen3Config(**SHAPE, head_dim=16), None)
    full.fuse_layers()
    with pytest.raises(ValueError, match="frozen"):
        hold_in_fp8(full.transformer)


def _gradients(model: torch.nn.Module) -> dict[str, Tensor]:
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(batch())
    logits.float().square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def _distance(found: dict[str, Tensor], exact: dict[str, Tensor]) -> float:
    """How far gradients are from the exact ones, as a share of their length."""
    apart = sum(float((found[name] - exact[name]).square().sum()) for name in exact)
    return float(apart / sum(float(value.square().sum()) for value in exact.values())) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("is_compiled", [False, True])
@pytest.mark.parametrize("family", [Qwen2Config, Qwen3Config], ids=["biases", "norms"])
def test_a_full_fine_tune_in_bf16_is_at_least_as_near_to_float32_as_with_the_familys_layers(
    family: type[Qwen2Config | Qwen3Config], is_compiled: bool
) -> None:
    # Compiled, a first and a last layer: one between them is compiled anew, of the same parts.
    own = make_model(family(**SHAPE | {"num_hidden_layers": 2 if is_compiled else 3}, head_dim=16), None)
    fused = copy.deepcopy(own)
    fused.fuse_layers()
    fused.narrow_layers()
    if is_compiled:
        compile_layers(fused.transformer, backend="aot_eager")
    ratios = []
    # Which of two roundings is the nearer one changes with the weights, by a tenth and more: several draws.
    for draw in range(9):
        generator = torch.Generator().manual_seed(draw)
        for one, other in zip(own.parameters(), fused.parameters(), strict=True):
            one.data += 0.02 * torch.randn(one.shape, generator=generator)
            other.data.copy_(one.data)
        own.zero_grad()
        own(batch()).square().sum().backward()
        exact = {name: p.grad.clone() for name, p in own.named_parameters() if p.grad is not None}
        rounded, found = _gradients(own), _gradients(fused)
        assert found.keys() == exact.keys()
        assert all(value.dtype == torch.float32 for value in found.values())
        assert _distance(rounded, exact) < 0.1
        ratios.append(_distance(found, exact) / _distance(rounded, exact))
    assert statistics.median(ratios) < 1.03
    assert max(ratios) < 1.5

"""A sum and its norm as one operation: the family's own numbers and gradients; in 8 bits, the rows that are read."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from transformers import LlamaConfig, MistralConfig, PreTrainedConfig, Qwen2Config, Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from model.test_fused import SHAPE, assert_alike, batch, make_model, scores_and_gradients
from surestep.model.fast import sum_norm as operations
from surestep.model.fast.compile_layers import compile_layers
from surestep.model.fast.fuse import hold_in_fp8
from surestep.model.fast.sum_norm import States, sum_norm, sum_norm_fp8, summed_and_normed
from surestep.model.fast.weights_for_scoring import merge_adapters
from surestep.model.precision.fp8 import Fp8Rows, fp8_rows, quantise_rows

CONFIGS: list[PreTrainedConfig] = [
    LlamaConfig(**SHAPE),
    MistralConfig(**SHAPE),
    Qwen2Config(**SHAPE),
    Qwen3Config(**SHAPE, head_dim=16),
]


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """The operation is taken wherever a GPU would take it; filled with whether it was, call by call."""
    taken: list[bool] = []
    own = operations._is_ours

    class OnGpu:
        is_cuda = True

        def __init__(self, x: Tensor) -> None:
            self.shape = x.shape

    def is_ours(norm: torch.nn.Module, x: Tensor) -> bool:
        taken.append(own(norm, OnGpu(x)))
        return taken[-1]

    monkeypatch.setattr(operations, "_is_ours", is_ours)
    return taken


def _norm(width: int, dtype: torch.dtype = torch.float32) -> Qwen3RMSNorm:
    norm = Qwen3RMSNorm(width, eps=1e-3)
    norm.weight.data = torch.randn(width).to(dtype)
    return norm


def test_sum_norm_and_gradients_are_the_familys() -> None:
    torch.manual_seed(0)
    norm = _norm(40)
    x, y = (torch.randn(7, 40, requires_grad=True) for _ in range(2))
    upstream = [torch.randn(7, 40) for _ in range(2)]
    found = sum_norm(x, y, norm.weight, 1e-3)
    expected = x + y, norm(x + y)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    gradients = torch.autograd.grad(found, [x, y, norm.weight], upstream)
    for one, other in zip(gradients, torch.autograd.grad(expected, [x, y, norm.weight], upstream), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_half_precision_is_rounded_once() -> None:
    torch.manual_seed(0)
    norm = _norm(512)
    x, y = (torch.randn(64, 512).bfloat16() for _ in range(2))
    summed, normed = sum_norm(x, y, norm.weight, 1e-3)
    exact = norm(summed.float()).detach()
    assert normed.dtype == torch.bfloat16
    assert torch.equal(normed, exact.bfloat16())
    # The family rounds before it multiplies by the weight, and again after.
    twice = (norm.weight * norm(summed).div(norm.weight).bfloat16()).bfloat16()
    assert (normed - exact).norm() < (twice - exact).norm()


def test_rows_in_eight_bits_are_those_of_the_norm() -> None:
    torch.manual_seed(0)
    norm = _norm(48)
    x, y = (torch.randn(9, 48) for _ in range(2))
    summed, small, scale = sum_norm_fp8(x, y, norm.weight, 1e-3)
    expected_small, expected_scale = quantise_rows(norm(x + y))
    assert torch.equal(summed, x + y)
    torch.testing.assert_close(scale, expected_scale, rtol=1e-5, atol=0)
    assert float((small.float() != expected_small.float()).float().mean()) < 0.01


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_full_fine_tuning_scores_and_learns_alike(config: PreTrainedConfig, ours: list[bool]) -> None:
    own = make_model(config, None)
    expected, expected_gradients = scores_and_gradients(own)
    found_model = copy.deepcopy(own)
    found_model.fuse_layers()
    found_model.narrow_layers()
    found, gradients = scores_and_gradients(found_model)
    assert ours == [True] * 4, "three layers, of which the first has one sum and the last a norm of few rows"
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert_alike(gradients, expected_gradients)


def test_frozen_norms_are_left_to_the_compiler_in_training_only(ours: list[bool]) -> None:
    model = make_model(Qwen3Config(**SHAPE, head_dim=16), ["q_proj"])
    model.narrow_layers()
    expected = model(batch())
    assert ours == [False] * 4
    with torch.no_grad():
        found = model(batch())
    assert ours[4:] == [True] * 4
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_compiled_training_keeps_the_operation(ours: list[bool]) -> None:
    model = make_model(Qwen3Config(**SHAPE, head_dim=16), None)
    model.fuse_layers()
    model.narrow_layers()
    expected, expected_gradients = scores_and_gradients(model)
    programs: list[str] = []

    def record(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        programs.append(graph.code)
        return graph.forward

    from functorch.compile import make_boxed_func

    backend = aot_autograd(
        fw_compiler=lambda graph, inputs: make_boxed_func(record(graph, inputs)),
        bw_compiler=lambda graph, inputs: make_boxed_func(record(graph, inputs)),
    )
    compile_layers(model.transformer, backend=backend)
    found, gradients = scores_and_gradients(model)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert_alike(gradients, expected_gradients)
    assert any("sum_norm_backward" in program for program in programs)


@pytest.mark.parametrize("targets", [["q_proj", "o_proj"], ["o_proj", "down_proj"]], ids=["q and o", "o and down"])
@pytest.mark.parametrize("merged", [False, True])
def test_modules_without_adapters_read_eight_bits_while_nothing_is_trained(
    targets: list[str], merged: bool, ours: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(Qwen3Config(**SHAPE, head_dim=16), targets)
    model.fuse_layers()
    model.narrow_layers()
    if merged:
        merge_adapters(model)
    hold_in_fp8(model.transformer)
    in_fp8: list[bool] = []

    def seen(states: States, norm: torch.nn.Module, **options: bool) -> tuple[Tensor, Tensor | Fp8Rows]:
        found = summed_and_normed(states, norm, **options)
        in_fp8.append(isinstance(found[1], Fp8Rows))
        return found

    monkeypatch.setattr("surestep.model.fast.decoder_layers.summed_and_normed", seen)
    trained = model(batch()).detach()
    assert in_fp8 == [False] * 5, "training has gradients to keep"
    del in_fp8[:]
    with torch.no_grad():
        scored = model(batch())
    attention, mlp = merged or "q_proj" not in targets, merged or "down_proj" not in targets
    assert in_fp8 == [False, mlp, attention, mlp, attention], "the first layer's input is no sum"
    # The same arithmetic, but for roundings that fall to the other side.
    torch.testing.assert_close(scored, trained, rtol=0, atol=0.05 * float(trained.abs().max()))


def test_rows_as_an_operation_are_those_of_the_function() -> None:
    x = torch.randn(5, 32)
    for found, expected in zip(fp8_rows(x), quantise_rows(x), strict=True):
        assert torch.equal(found.float(), expected.float())

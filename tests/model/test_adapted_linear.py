"""A frozen layer with its adapters as one operation, against the same written out in float64."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surestep.model.fast.adapters.adapted_linear import adapted_linear
from surestep.model.fast.adapters.adapters import Adapter, AdapterCopies, Adapters, CopiedAdapters, padded_ranks
from surestep.model.fast.adapters.hashed_dropout import drop, keep_mask
from surestep.model.fast.projection import AdaptedWeights, FrozenWeights

ROWS = 11
SEED = torch.tensor(77, dtype=torch.int32)


@dataclass
class Case:
    """Layers of these outputs over one input; every second one without an adapter where there are three."""

    inputs: int
    outputs: list[int]
    ranks: list[int]

    def made(self, dropout: float, *, bias: bool = True, dtype: torch.dtype = torch.float64) -> tuple:  # type: ignore[type-arg]
        torch.manual_seed(0)
        layers = [nn.Linear(self.inputs, size, bias=bias, dtype=dtype).requires_grad_(False) for size in self.outputs]
        own = [
            Adapter(
                nn.Parameter(torch.randn(rank, self.inputs, dtype=dtype)),
                nn.Parameter(torch.randn(size, rank, dtype=dtype)),
                0.5 + place,
            )
            if rank
            else None
            for place, (rank, size) in enumerate(zip(self.ranks, self.outputs, strict=True))
        ]
        adapters = Adapters(own, self.outputs, dropout=dropout, seed=SEED, salt=6)
        return layers, adapters


WIDE, NARROW = Case(6, [8, 4, 4], [3, 0, 2]), Case(20, [8], [3])


def written_out(x: Tensor, layers: list[nn.Linear], adapters: Adapters, training: bool) -> Tensor:
    dropped = drop(x, SEED + 6, adapters.dropout) if training and adapters.dropout else x
    found = []
    for layer, adapter in zip(layers, adapters.of_layers, strict=True):
        y = F.linear(x, layer.weight, layer.bias)
        found.append(y if adapter is None else y + adapter.scale * (dropped @ adapter.a.t() @ adapter.b.t()))
    return torch.cat(found, 1)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", [WIDE, NARROW], ids=["wide", "narrow"])
def test_it_computes_layers_and_adapters_forward_and_backward(
    case: Case, bias: bool, dropout: float, training: bool
) -> None:
    layers, adapters = case.made(dropout, bias=bias)
    x = torch.randn(ROWS, case.inputs, dtype=torch.float64, requires_grad=True)
    parameters = [one for adapter in adapters.present for one in (adapter.a, adapter.b)]
    expected = written_out(x, layers, adapters, training)
    weights = AdaptedWeights(layers, adapters)
    assert weights.is_wide == (case is WIDE)
    CopiedAdapters([weights.copies]).bring_up_to_date()
    found = weights.product(x, adapters, training)
    torch.testing.assert_close(found, expected)
    upstream = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, [x, *parameters], upstream)
    for got, own in zip(torch.autograd.grad(found, [x, *parameters], upstream), wanted, strict=True):
        # Gradients of parameters are summed in float32.
        torch.testing.assert_close(got, own, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(written_out(x, layers, adapters, training), expected), "layers keep their weights"


def test_an_input_without_a_gradient_costs_none() -> None:
    for case in (WIDE, NARROW):
        layers, adapters = case.made(0.3)
        weights = AdaptedWeights(layers, adapters)
        CopiedAdapters([weights.copies]).bring_up_to_date()
        x = torch.randn(ROWS, case.inputs, dtype=torch.float64)
        found = torch.autograd.grad(weights.product(x, adapters, True).sum(), adapters.present[0].a)
        expected = torch.autograd.grad(written_out(x, layers, adapters, True).sum(), adapters.present[0].a)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_copies_follow_the_adapters_and_leave_the_weights_alone() -> None:
    layers, adapters = WIDE.made(0.0, dtype=torch.float32)
    before = [layer.weight.clone() for layer in layers]
    for layer in layers:
        layer.weight.data = layer.weight.data.bfloat16()
    weights = AdaptedWeights(layers, adapters)
    copied = CopiedAdapters([weights.copies])
    for _ in range(2):
        copied.bring_up_to_date()
        first, third = adapters.of_layers[0], adapters.of_layers[2]
        assert first is not None
        assert third is not None
        copies = weights.copies
        assert copies.a_RD.shape == (padded_ranks(5), 6) == (8, 6)
        assert torch.equal(copies.a_RD[:5], torch.cat([first.a * first.scale, third.a * third.scale]).bfloat16())
        assert copies.scale_R.tolist() == [0.5] * 3 + [2.5] * 2 + [0.0] * 3
        assert torch.equal(copies.b_NR[:8, :3], first.b.bfloat16())
        assert torch.equal(copies.b_NR[12:, 3:5], third.b.bfloat16())
        assert copies.b_NR.count_nonzero() == 8 * 3 + 4 * 2, "zeros elsewhere"
        assert copies.a_RD[5:].count_nonzero() == 0
        for layer, own in zip(layers, before, strict=True):
            assert torch.equal(layer.weight, own.bfloat16())
        with torch.no_grad():
            first.a.mul_(2)
            third.b.data = third.b.data * 3  # other memory, as resharding gives it


def test_a_pass_between_another_and_its_gradient_changes_neither() -> None:
    layers, adapters = NARROW.made(0.0)
    weights = AdaptedWeights(layers, adapters)
    copied = CopiedAdapters([weights.copies])
    x = torch.randn(ROWS, NARROW.inputs, dtype=torch.float64, requires_grad=True)
    copied.bring_up_to_date()
    first = weights.product(x, adapters, True)
    copied.bring_up_to_date()
    expected = torch.autograd.grad(written_out(x, layers, adapters, True).sum(), x)
    torch.testing.assert_close(torch.autograd.grad(first.sum(), x), expected)


def test_without_adapters_the_weights_lie_close_again() -> None:
    layers, adapters = WIDE.made(0.0)
    before = torch.cat([layer.weight for layer in layers])
    wide = AdaptedWeights(layers, adapters)
    assert wide.weight_ND.shape == (16, 14)
    assert not layers[0].weight.is_contiguous()
    close = FrozenWeights(layers)
    assert close.weight_ND.is_contiguous()
    assert torch.equal(close.weight_ND, before)
    assert all(layer.weight.is_contiguous() for layer in layers)


def test_inputs_dropped_out_are_those_of_the_mask() -> None:
    """The adapters see the kept entries, scaled up; the layer itself sees all."""
    layers, adapters = NARROW.made(0.5)
    for layer in layers:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    (adapter,) = adapters.present
    weights = AdaptedWeights(layers, adapters)
    copied = CopiedAdapters([weights.copies])
    with torch.no_grad():
        adapter.a.zero_()
        adapter.a[0, 4] = 1
        adapter.b.fill_(1)
    copied.bring_up_to_date()
    found = weights.product(torch.ones(ROWS, 20, dtype=torch.float64), adapters, True)
    kept = keep_mask(SEED + 6, ROWS, 20, 0.5)[:, 4]
    assert kept.any()
    assert not kept.all()
    assert torch.equal(found[:, 0], kept * 2.0 * adapter.scale)


@pytest.mark.slow
@pytest.mark.parametrize("case", [WIDE, NARROW], ids=["wide", "narrow"])
def test_a_compiler_may_trust_what_it_says_of_itself(case: Case) -> None:
    layers, adapters = case.made(0.3, dtype=torch.float32)
    weights = AdaptedWeights(layers, adapters)
    copies: AdapterCopies = weights.copies
    x = torch.randn(ROWS, case.inputs, requires_grad=True)
    torch.library.opcheck(
        adapted_linear,
        (
            *(x, weights.weight_ND, weights.bias_N, copies.a_RD, None if weights.is_wide else copies.b_NR),
            [adapter.a for adapter in adapters.present],
            [adapter.b for adapter in adapters.present],
            *(copies.scale_R, adapters.outputs, SEED, torch.tensor(6, dtype=torch.int32), 0.3),
        ),
        # The mask follows from the seed alone.
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic"),
    )

"""Kernels of adapters and gates on a real GPU, against the same written out in float32.

Run by hand on a machine with a GPU: `pytest tests/gpu/test_adapters_cuda.py`.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adapted_mlps import made_mlp
from surestep.model.fast.adapters.adapters import Adapter, Adapters, CopiedAdapters
from surestep.model.fast.adapters.hashed_dropout import drop
from surestep.model.fast.gated_product import gated_product
from surestep.model.fast.projection import AdaptedWeights

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

BF16 = 0.01
"""Inputs and results rounded to 1 part in 256 each."""


def _far(found: Tensor, exact: Tensor) -> float:
    return float((found.detach().float() - exact.detach().float()).norm() / exact.detach().float().norm())


@pytest.mark.parametrize("rows", [16, 2048, 5000])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize(
    ("inputs", "outputs", "ranks"),
    [
        (1024, [2048, 1024, 1024], [16, 16, 16]),
        (2048, [1024], [16]),
        (576, [576, 192, 192], [16, 0, 8]),
        (2560, [9728, 9728], [64, 64]),
        (9728, [2560], [3]),
        (256, [512], [200]),
    ],
)
def test_adapted_weights_stay_within_the_rounding_of_bf16(
    inputs: int, outputs: list[int], ranks: list[int], dropout: float, rows: int
) -> None:
    torch.manual_seed(0)
    device, half = torch.device("cuda"), torch.bfloat16
    layers = [nn.Linear(inputs, size, device=device, dtype=half).requires_grad_(False) for size in outputs]
    seed = torch.tensor(77, dtype=torch.int32, device=device)
    own = [
        Adapter(
            nn.Parameter(torch.randn(rank, inputs, device=device) / inputs**0.5),
            nn.Parameter(torch.randn(size, rank, device=device) / rank**0.5),
            2.0,
        )
        if rank
        else None
        for rank, size in zip(ranks, outputs, strict=True)
    ]
    adapters = Adapters(own, outputs, dropout=dropout, seed=seed, salt=6)
    exact = torch.randn(rows, inputs, device=device).bfloat16().float().requires_grad_()
    x = exact.detach().bfloat16().requires_grad_()
    parameters = [one for adapter in adapters.present for one in (adapter.a, adapter.b)]
    dropped = drop(exact, seed + 6, dropout) if dropout else exact
    expected = torch.cat(
        [
            F.linear(exact, layer.weight.float(), layer.bias.float())
            + (0.0 if adapter is None else adapter.scale * (dropped @ adapter.a.t() @ adapter.b.t()))
            for layer, adapter in zip(layers, own, strict=True)
        ],
        1,
    )
    upstream = torch.randn_like(expected).bfloat16()
    wanted = torch.autograd.grad(expected, [exact, *parameters], upstream.float())
    weights = AdaptedWeights(layers, adapters)
    CopiedAdapters([weights.copies]).bring_up_to_date()
    found = weights.product(x, adapters, True)
    assert _far(found, expected) < BF16
    got = torch.autograd.grad(found, [x, *parameters], upstream)
    for one, other in zip(got, wanted, strict=True):
        assert one.dtype == (half if one is got[0] else torch.float32)
        assert _far(one, other) < BF16
    again = torch.autograd.grad(weights.product(x, adapters, True), [x, *parameters], upstream)
    assert all(torch.equal(one, other) for one, other in zip(got, again, strict=True)), "the same numbers in every run"


@pytest.mark.parametrize("rows", [16, 2048, 5000])
@pytest.mark.parametrize("dropout", [(0.0, 0.0), (0.1, 0.1)], ids=["whole", "dropped out"])
@pytest.mark.parametrize(
    ("width", "hidden", "ranks"),
    [
        (1024, 3072, (16, 16, 16)),
        (576, 1536, (8, 16, 3)),
        (2560, 9728, (64, 64, 64)),
        (1024, 3072, (32, 16, 128)),  # down's are too many for its kernels
        (256, 512, (128, 128, 16)),
    ],
)
def test_an_adapted_mlp_stays_within_the_rounding_of_bf16(
    width: int, hidden: int, ranks: tuple[int, int, int], dropout: tuple[float, float], rows: int
) -> None:
    torch.manual_seed(0)
    exact = torch.randn(rows, width, device="cuda").bfloat16().float().requires_grad_()
    x = exact.detach().bfloat16().requires_grad_()
    mlp = made_mlp(width, hidden, ranks, dropout, x)
    expected, found = mlp.written_out(exact), mlp(x)
    assert _far(found, expected) < BF16
    upstream = torch.randn_like(expected).bfloat16()
    wanted = torch.autograd.grad(expected, [exact, *mlp.parameters], upstream.float())
    got = torch.autograd.grad(found, [x, *mlp.parameters], upstream)
    for one, other in zip(got, wanted, strict=True):
        assert one.dtype == (torch.bfloat16 if one is got[0] else torch.float32)
        assert _far(one, other) < BF16
    again = torch.autograd.grad(mlp(x), [x, *mlp.parameters], upstream)
    assert all(torch.equal(one, other) for one, other in zip(got, again, strict=True)), "the same numbers in every run"


@pytest.mark.parametrize(("rows", "width"), [(2048, 3072), (100, 1536), (16, 9728)])
def test_gates_stay_within_the_rounding_of_bf16(rows: int, width: int) -> None:
    torch.manual_seed(0)
    joined = torch.randn(rows, 2 * width, device="cuda").bfloat16().requires_grad_()
    exact = joined.detach().float().requires_grad_()
    expected = F.silu(exact[:, :width]) * exact[:, width:]
    upstream = torch.randn_like(expected).bfloat16()
    found = gated_product(joined)
    assert _far(found, expected) < BF16
    (got,), (wanted,) = (
        torch.autograd.grad(found, joined, upstream),
        torch.autograd.grad(expected, exact, upstream.float()),
    )
    assert _far(got, wanted) < BF16

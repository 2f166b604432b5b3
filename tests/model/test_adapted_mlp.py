"""A gated MLP with its adapters as one operation, against the same written out in float64."""

from __future__ import annotations

import pytest
import torch

from adapted_mlps import made_mlp
from surestep.model.fast.adapters.adapted_mlp import adapted_mlp

ROWS, WIDTH, HIDDEN = 11, 6, 10


@pytest.mark.parametrize("dropout", [(0.0, 0.0), (0.3, 0.3), (0.0, 0.5)], ids=["no dropout", "dropout", "before down"])
@pytest.mark.parametrize("ranks", [(3, 3, 3), (2, 5, 1), (4, 1, 9)], ids=str)
def test_it_computes_layers_and_adapters_forward_and_backward(
    ranks: tuple[int, int, int], dropout: tuple[float, float]
) -> None:
    torch.manual_seed(0)
    x = torch.randn(ROWS, WIDTH, dtype=torch.float64, requires_grad=True)
    mlp = made_mlp(WIDTH, HIDDEN, ranks, dropout, x)
    found, expected = mlp(x), mlp.written_out(x)
    # silu(gate) · up and gradients of parameters are summed in float32.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    upstream = torch.randn_like(expected)
    inputs = [x, *mlp.parameters]
    wanted = torch.autograd.grad(expected, inputs, upstream)
    for got, own in zip(torch.autograd.grad(found, inputs, upstream), wanted, strict=True):
        torch.testing.assert_close(got, own, rtol=1e-5, atol=1e-5)


def test_an_input_without_a_gradient_costs_none() -> None:
    x = torch.randn(ROWS, WIDTH, dtype=torch.float64)
    mlp = made_mlp(WIDTH, HIDDEN, (2, 3, 1), (0.3, 0.3), x)
    found = torch.autograd.grad(mlp(x).sum(), mlp.parameters)
    expected = torch.autograd.grad(mlp.written_out(x).sum(), mlp.parameters)
    for got, own in zip(found, expected, strict=True):
        torch.testing.assert_close(got, own, rtol=1e-5, atol=1e-5)


def test_the_product_of_gate_and_up_is_not_kept_for_the_backward_pass() -> None:
    """It has one number in three of those between the products, which would be kept without this operation."""
    kept: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel() if len(tensor.shape) == 2 and len(tensor) == ROWS else 0)
        return tensor

    x = torch.randn(ROWS, WIDTH, requires_grad=True)
    mlp = made_mlp(WIDTH, HIDDEN, (8, 8, 8), (0.0, 0.0), x)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        mlp(x)
    assert sum(kept) == ROWS * (WIDTH + 16 + 2 * HIDDEN + 8)


@pytest.mark.slow
def test_a_compiler_may_trust_what_it_says_of_itself() -> None:
    x = torch.randn(ROWS, WIDTH, requires_grad=True)
    torch.library.opcheck(
        adapted_mlp,
        made_mlp(WIDTH, HIDDEN, (2, 3, 1), (0.3, 0.3), x).arguments(x),  # type: ignore[arg-type]
        # The masks follow from the seed alone.
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic"),
    )

"""A frozen layer with its adapters as one operation, against the same in four."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from surestep.model.fast.adapter_linear import linear_with_adapter


@pytest.mark.parametrize("has_bias", [True, False])
def test_it_computes_the_layer_and_its_adapters(has_bias: bool) -> None:
    torch.manual_seed(0)
    x, low, b = (torch.randn(size, dtype=torch.float64, requires_grad=True) for size in ((11, 6), (11, 3), (8, 3)))
    weight = torch.randn(8, 6, dtype=torch.float64)
    bias = torch.randn(8, dtype=torch.float64) if has_bias else None
    found, expected = linear_with_adapter(x, weight, bias, low, b), F.linear(x, weight, bias) + low @ b.t()
    torch.testing.assert_close(found, expected)
    upstream = torch.randn_like(expected)
    for got, wanted in zip(
        torch.autograd.grad(found, (x, low, b), upstream),
        torch.autograd.grad(expected, (x, low, b), upstream),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted)


@pytest.mark.slow
def test_a_compiler_may_trust_what_it_says_of_itself() -> None:
    torch.manual_seed(0)
    x, low, b = (torch.randn(size, requires_grad=True) for size in ((11, 6), (11, 3), (8, 3)))
    torch.library.opcheck(linear_with_adapter, (x, torch.randn(8, 6), None, low, b))

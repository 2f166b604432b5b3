"""Products over trained float32 weights: half precision does not round their gradients."""

from __future__ import annotations

import torch

from surestep.model.trained import trained_linear


def test_gradients_of_weights_are_summed_and_kept_in_float32() -> None:
    torch.manual_seed(0)
    x = torch.randn(500, 24).bfloat16().requires_grad_()
    weights = [torch.randn(rows, 24, requires_grad=True) for rows in (10, 6)]
    half = torch.cat([weight.detach() for weight in weights]).bfloat16()
    y = trained_linear(x, half, weights, None)
    upstream = torch.randn(500, 16).bfloat16()
    of_x, *of_weights = torch.autograd.grad(y, [x, *weights], upstream)
    exact = upstream.double().t() @ x.detach().double()
    found = torch.cat(of_weights)
    assert found.dtype == torch.float32
    assert float((found - exact).norm() / exact.norm()) < 1e-6
    assert float((exact.bfloat16() - exact).norm() / exact.norm()) > 1e-3, "what rounding would have cost"
    torch.testing.assert_close(of_x, upstream @ half)

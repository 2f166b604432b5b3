"""silu(gate) · up of a gated MLP as one operation over gate and up beside each other, so that both are one product.

A compiler would put their gradients together in another kernel, before the product that reads both. Computed in
float32 and rounded once (SwiGLU: Shazeer, GLU Variants Improve Transformer, 2020).

Shapes: `P` rows, `F` width of gate and of up.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.library.custom_op("surestep::gated_product", mutates_args=())
def gated_product(joined: Tensor) -> Tensor:
    """silu(gate) · up [P, F] of `joined` [P, 2 F], contiguous."""
    if joined.is_cuda:
        from surestep.model.fast.gated_kernel import gated_on_gpu

        return gated_on_gpu(joined)
    gate, up = joined.float().chunk(2, dim=1)
    return (F.silu(gate) * up).to(joined.dtype)


@gated_product.register_fake
def _(joined: Tensor) -> Tensor:
    return joined.new_empty((joined.shape[0], joined.shape[1] // 2))


@torch.library.custom_op("surestep::gated_product_backward", mutates_args=())
def gated_product_backward(joined: Tensor, of_product: Tensor) -> Tensor:
    """The gradient of `joined` [P, 2 F], where that of the product [P, F] is `of_product`."""
    if joined.is_cuda:
        from surestep.model.fast.gated_kernel import gated_gradient_on_gpu

        return gated_gradient_on_gpu(joined, of_product)
    gate, up = joined.float().chunk(2, dim=1)
    share = torch.sigmoid(gate)
    of_gate = of_product.float() * up * share * (1 + gate * (1 - share))
    return torch.cat([of_gate, of_product.float() * gate * share], dim=1).to(joined.dtype)


@gated_product_backward.register_fake
def _(joined: Tensor, of_product: Tensor) -> Tensor:
    return torch.empty_like(joined)


def _keep(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, of_product: Tensor) -> Tensor:
    (joined,) = ctx.saved_tensors
    of_joined: Tensor = gated_product_backward(joined, of_product.contiguous())
    return of_joined


gated_product.register_autograd(_backward, setup_context=_keep)

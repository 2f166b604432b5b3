"""A frozen linear layer and its adapters as one operation: the adapters' share is summed into the product's own memory.

Left to a compiler, the sum is a product with a third operand, for which the first product's output is copied whole.

Shapes: `P` rows, `D` inputs, `N` outputs, `R` ranks.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.library.custom_op("surestep::adapted_linear", mutates_args=())
def linear_with_adapter(x: Tensor, weight: Tensor, bias: Tensor | None, low: Tensor, b: Tensor) -> Tensor:
    """[P, N] x Wᵀ + bias + low bᵀ of x [P, D], `weight` [N, D] and `bias` [N] frozen, `low` [P, R], `b` [N, R].

    All of one dtype; a custom operation is not cast by autocast.
    """
    return F.linear(x, weight, bias).addmm_(low, b.t())


@linear_with_adapter.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, low: Tensor, b: Tensor) -> Tensor:
    return x.new_empty((x.shape[0], weight.shape[0]))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, weight, _, low, b = inputs
    ctx.save_for_backward(weight, low, b)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    weight, low, b = ctx.saved_tensors
    return gradient @ weight, None, None, gradient @ b, gradient.t() @ low


linear_with_adapter.register_autograd(_backward, setup_context=_keep)

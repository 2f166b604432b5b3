"""Linear layers with trained weights in float32, multiplied in half precision: the weights' gradients are summed in
float32 by the product itself.

Left to autocast, the product rounds them to half precision and another kernel widens them again: more memory traffic
for fewer digits. The weights themselves are rounded when they have changed, once a step, and not in every pass of it.

Shapes: `P` rows, `D` inputs, `N` outputs of all layers that read the same input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@torch.library.custom_op("surestep::trained_linear", mutates_args=())
def linear_in_half(x: Tensor, half: Tensor, weights: list[Tensor], bias: Tensor | None) -> Tensor:
    """[P, N] `x` [P, D] times the transpose of `half` [N, D], plus `bias` [N], all of one dtype.

    `half` is `weights` joined and rounded; gradients go to the weights themselves.
    """
    return F.linear(x, half, bias)


@linear_in_half.register_fake
def _(x: Tensor, half: Tensor, weights: list[Tensor], bias: Tensor | None) -> Tensor:
    return x.new_empty((x.shape[0], half.shape[0]))


@torch.library.custom_op("surestep::weight_gradient", mutates_args=())
def weight_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """float32 [N, D]: the transpose of `gradient` [P, N] times `x` [P, D], neither summed nor kept in less."""
    if gradient.is_cuda and gradient.dtype != torch.float32:
        return torch.mm(gradient.t(), x, out_dtype=torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        return gradient.t().float() @ x.float()


@weight_gradient.register_fake
def _(gradient: Tensor, x: Tensor) -> Tensor:
    return x.new_empty((gradient.shape[1], x.shape[1]), dtype=torch.float32)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, half, weights, bias = inputs
    ctx.save_for_backward(x, half)
    ctx.sizes = [len(weight) for weight in weights]
    ctx.has_bias = bias is not None


def _backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    x, half = ctx.saved_tensors
    of_weights = torch.split(weight_gradient(gradient.contiguous(), x), ctx.sizes)
    of_bias = gradient.sum(0) if ctx.has_bias else None
    return gradient @ half, None, list(of_weights), of_bias


linear_in_half.register_autograd(_backward, setup_context=_keep)


@torch.library.custom_op("surestep::trained_pair", mutates_args=())
def linear_pair_in_half(x: Tensor, half_a: Tensor, half_b: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """`linear_in_half` of `x` with two weights that stay apart; the gradient of `x` is summed by the products."""
    return F.linear(x, half_a), F.linear(x, half_b)


@linear_pair_in_half.register_fake
def _(x: Tensor, half_a: Tensor, half_b: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty((x.shape[0], half_a.shape[0])), x.new_empty((x.shape[0], half_b.shape[0]))


@torch.library.custom_op("surestep::pair_input_gradient", mutates_args=())
def pair_input_gradient(of_a: Tensor, half_a: Tensor, of_b: Tensor, half_b: Tensor) -> Tensor:
    """[P, D]: of_a half_a + of_b half_b."""
    return torch.mm(of_a, half_a).addmm_(of_b, half_b)


@pair_input_gradient.register_fake
def _(of_a: Tensor, half_a: Tensor, of_b: Tensor, half_b: Tensor) -> Tensor:
    return of_a.new_empty((of_a.shape[0], half_a.shape[1]))


def _keep_pair(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:3])


def _pair_backward(ctx: Any, of_a: Tensor, of_b: Tensor) -> tuple[Tensor | None, ...]:
    x, half_a, half_b = ctx.saved_tensors
    of_a, of_b = of_a.contiguous(), of_b.contiguous()
    of_x = pair_input_gradient(of_a, half_a, of_b, half_b)
    return of_x, None, None, weight_gradient(of_a, x), weight_gradient(of_b, x)


linear_pair_in_half.register_autograd(_pair_backward, setup_context=_keep_pair)


class RoundedWeights:
    """Trained weights [., D] in float32, and all of them joined in half precision, as products read them.

    Args:
        weights: of layers that read the same input. Whoever changes them calls `round_weights` then; nothing else can
            know, since the kernels of optimisers change weights without leaving a mark on them.
        dtype: of the rounded copy.
    """

    def __init__(self, weights: Sequence[Tensor], dtype: torch.dtype) -> None:
        self.weights = list(weights)
        shape = sum(len(weight) for weight in self.weights), self.weights[0].shape[1]
        with torch.inference_mode(False):  # made while scoring, it may serve in training later
            # A parameter, so that a compiler takes its sizes for fixed.
            joined_ND = torch.empty(shape, dtype=dtype, device=self.weights[0].device)
            self.joined = nn.Parameter(joined_ND, requires_grad=False)

    @property
    def parts(self) -> list[Tensor]:
        """The places of the weights in the copy."""
        return list(torch.split(self.joined.detach(), [len(weight) for weight in self.weights]))


def round_weights(rounded: Sequence[RoundedWeights]) -> None:
    """Copy weights to their half-precision places, in few kernels."""
    with torch.no_grad():
        torch._foreach_copy_(
            [part for one in rounded for part in one.parts],
            [weight.detach() for one in rounded for weight in one.weights],
        )

"""The sum that a decoder layer's norm reads, and that norm, as one operation.

Where the norm's weight is trained, for its gradient, and wherever nothing is trained. (Elsewhere a compiler puts
the dropout of the adapters' input into its own kernel of the norm; an operation that it cannot see into would part
them.)

RMS norm: x / sqrt(mean(x²) + eps) · weight (Zhang and Sennrich, Root Mean Square Layer Normalization, 2019), computed
in float32 and rounded once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surestep.model.backbones.families import is_known
from surestep.model.precision.fp8 import E4M3, LARGEST, LONGEST_ROW, Fp8Rows, quantise_rows

States = Tensor | tuple[Tensor, Tensor]
"""[1, P, D], or two such whose sum is meant."""


def summed_and_normed(states: States, norm: Any, *, in_fp8: bool) -> tuple[Tensor, Tensor | Fp8Rows]:
    """The sum that `states` stand for [1, P, D], and its `norm`: [1, P, D], or with `in_fp8` rows [P, D].

    `in_fp8` is for who reads the norm in 8 bits and trains nothing.
    """
    if isinstance(states, Tensor):
        return states, norm(states)
    x, y = states
    if not _is_ours(norm, x):
        summed = x + y
        return summed, norm(summed)
    arguments = x.flatten(0, 1), y.flatten(0, 1), norm.weight, norm.variance_epsilon
    if in_fp8:
        summed, small, scale = sum_norm_fp8(*arguments)
        return summed.view_as(x), Fp8Rows(small, scale, x.dtype)
    summed, normed = sum_norm(*arguments)
    return summed.view_as(x), normed.view_as(x)


def added(states: States) -> Tensor:
    """The hidden states that `states` stand for."""
    return states if isinstance(states, Tensor) else states[0] + states[1]


def _is_ours(norm: Any, x: Tensor) -> bool:
    is_useful = norm.weight.requires_grad or not torch.is_grad_enabled()
    return is_useful and x.is_cuda and is_known(norm, "RMSNorm") and x.shape[-1] <= LONGEST_ROW


@torch.library.custom_op("surestep::sum_norm", mutates_args=())
def sum_norm(x: Tensor, y: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x + y, and its norm by `weight` [D], both [P, D] in the dtype of `x`."""
    if x.is_cuda:
        from surestep.model.fast.norm_kernel import sum_norm_on_gpu

        return sum_norm_on_gpu(x, y, weight, eps)
    summed = x + y
    return summed, _normed(summed, weight, eps).to(x.dtype)


@sum_norm.register_fake
def _(x: Tensor, y: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(x)


@torch.library.custom_op("surestep::sum_norm_backward", mutates_args=())
def sum_norm_backward(
    of_sum: Tensor, of_normed: Tensor, summed: Tensor, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """The gradient of both summands [P, D], and that of `weight` [D] in float32."""
    if summed.is_cuda:
        from surestep.model.fast.norm_kernel import sum_norm_gradient_on_gpu

        return sum_norm_gradient_on_gpu(of_sum, of_normed, summed, weight, eps)
    x, gradient = summed.float(), of_normed.float()
    factor = _factor(x, eps)
    of_weight = (gradient * x * factor).sum(0)
    gradient = gradient * weight.float()
    along = (gradient * x).mean(1, keepdim=True) * factor**2
    return ((gradient - x * along) * factor + of_sum.float()).to(summed.dtype), of_weight


@sum_norm_backward.register_fake
def _(of_sum: Tensor, of_normed: Tensor, summed: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    return torch.empty_like(summed), summed.new_empty((summed.shape[1],), dtype=torch.float32)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(output[0], inputs[2])
    ctx.eps = inputs[3]


def _backward(ctx: Any, of_sum: Tensor, of_normed: Tensor) -> tuple[Tensor | None, ...]:
    summed, weight = ctx.saved_tensors
    of_x, of_weight = sum_norm_backward(of_sum, of_normed, summed, weight, ctx.eps)
    return of_x, of_x, of_weight.to(weight.dtype), None


sum_norm.register_autograd(_backward, setup_context=_keep)


@torch.library.custom_op("surestep::sum_norm_fp8", mutates_args=())
def sum_norm_fp8(x: Tensor, y: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """x + y [P, D]; its norm as `quantise_rows` gives it, never written in more bits. Has no gradient."""
    if x.is_cuda:
        from surestep.model.fast.norm_kernel import sum_norm_quantised_on_gpu

        return sum_norm_quantised_on_gpu(x, y, weight, eps, E4M3, LARGEST)
    summed = x + y
    return summed, *quantise_rows(_normed(summed, weight, eps))


@sum_norm_fp8.register_fake
def _(x: Tensor, y: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(x, dtype=E4M3), x.new_empty((x.shape[0], 1), dtype=torch.float32)


def _normed(summed: Tensor, weight: Tensor, eps: float) -> Tensor:
    x = summed.float()
    return x * _factor(x, eps) * weight.float()


def _factor(x: Tensor, eps: float) -> Tensor:
    return torch.rsqrt(x.square().mean(1, keepdim=True) + eps)

"""A frozen linear layer and its adapters as one operation: y = x Wᵀ + bias + (dropped x Aᵀ) Bᵀ, A being scaled.

As two products the second one reads and writes the whole output again, which for a small model takes as long as half
of the first. So, where the output is the wider side, the product is one of longer rows: [x, dropped x Aᵀ] times
[W, B] transposed, B lying behind the weight's own columns. Where the input is wider, copying it would cost more
than it saves, and the adapters' share is summed into the product's own memory.

Shapes: `P` rows, `D` inputs, `N` outputs, `R` ranks of all adapters, with zeros up to a multiple of 8.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from surestep.model.fast.adapters.hashed_dropout import Dropout
from surestep.model.precision.float32_weights import weight_gradient


@torch.library.custom_op("surestep::adapted_linear", mutates_args=())
def adapted_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    half_a: Tensor,
    half_b: Tensor | None,
    a: list[Tensor],
    b: list[Tensor],
    scale: Tensor,
    outputs: list[int],
    seed: Tensor,
    salt: Tensor,
    dropout: float,
) -> tuple[Tensor, Tensor]:
    """[P, N] of x [P, D], and what the backward pass needs: [P, D + R] or [P, R].

    All but the parameters are of one dtype; a custom operation is not cast by autocast.

    Args:
        x: its rows may lie apart.
        weight: [N, D + R], B behind the weight's columns; or [N, D], and `half_b` is B.
        bias: [N].
        half_a: [R, D], the adapters' scaled A below each other.
        half_b: [N, R], each adapter's B at its outputs and its ranks.
        a: the parameters that `half_a` scales and rounds, [r, D] each; for their gradients.
        b: those of B, [n, r] each.
        scale: float32 [R], of each rank of `half_a`.
        outputs: where those of each adapter begin.
        seed: int32 scalar of the pass's dropout masks.
        salt: int32 scalar that is added to it for this mask.
        dropout: of the adapters' input.
    """
    ranks, width = half_a.shape
    if half_b is None:
        wide = x.new_empty((len(x), width + ranks))
        low_rank(x, half_a, wide[:, :width], wide[:, width:], Dropout(seed, salt, dropout))
        return F.linear(wide, weight, bias), wide
    low = x.new_empty((len(x), ranks))
    low_rank(x, half_a, None, low, Dropout(seed, salt, dropout))
    return F.linear(x, weight, bias).addmm_(low, half_b.t()), low


@adapted_linear.register_fake
def _(x, weight, bias, half_a, half_b, a, b, scale, outputs, seed, salt, dropout):  # type: ignore[no-untyped-def]
    kept = half_a.shape[0] + (half_a.shape[1] if half_b is None else 0)
    return x.new_empty((x.shape[0], weight.shape[0])), x.new_empty((x.shape[0], kept))


@torch.library.custom_op("surestep::adapted_linear_backward", mutates_args=())
def adapted_linear_backward(
    gradient: Tensor,
    x: Tensor | None,
    kept: Tensor,
    weight: Tensor,
    half_a: Tensor,
    half_b: Tensor | None,
    scale: Tensor,
    seed: Tensor,
    salt: Tensor,
    dropout: float,
    has_x: bool,
) -> list[Tensor]:
    """The gradients of x [P, D] (without `has_x` of no rows), of the A (float32 [R, D]) and of all that B is part of.

    That is float32 [N, R]: an adapter's own are those at its outputs and its ranks. `x` is None where `kept` begins
    with it.
    """
    width, mask = half_a.shape[1], Dropout(seed, salt, dropout)
    if half_b is None:
        both = wide_gradient(gradient, kept, weight, half_a, scale, mask, has_x)
        return [*both, weight_gradient(gradient, kept[:, width:])]
    assert x is not None, "kept beside the input"
    of_x = gradient @ weight if has_x else None
    of_a = low_rank_gradient(x, gradient @ half_b, of_x, of_x, half_a, scale, mask)
    return [gradient.new_empty((0, width)) if of_x is None else of_x, of_a, weight_gradient(gradient, kept)]


@adapted_linear_backward.register_fake
def _(gradient, x, kept, weight, half_a, half_b, scale, seed, salt, dropout, has_x):  # type: ignore[no-untyped-def]
    return [
        gradient.new_empty((gradient.shape[0] if has_x else 0, half_a.shape[1])),
        gradient.new_empty(half_a.shape, dtype=torch.float32),
        gradient.new_empty((gradient.shape[1], half_a.shape[0]), dtype=torch.float32),
    ]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, _, half_a, half_b, a, b, scale, outputs, seed, salt, dropout = inputs
    # Nobody asks for the gradient of what is kept; zeros in its place would be as large as it is.
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x if half_b is not None else None, output[1], weight, half_a, half_b, scale, seed, salt)
    ctx.dropout, ctx.outputs = dropout, outputs
    ctx.of_a = [(len(one), one.dtype) for one in a]
    ctx.of_b = [(len(one), one.dtype) for one in b]


def _backward(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Any, ...]:
    x, kept, weight, half_a, half_b, scale, seed, salt = ctx.saved_tensors
    has_x = ctx.needs_input_grad[0]
    of_x, of_a, of_b = adapted_linear_backward(
        gradient.contiguous(), x, kept, weight, half_a, half_b, scale, seed, salt, ctx.dropout, has_x
    )
    of_each_a, of_each_b, first = [], [], 0
    for (rank, a_dtype), (size, b_dtype), start in zip(ctx.of_a, ctx.of_b, ctx.outputs, strict=True):
        of_each_a.append(of_a[first : first + rank].to(a_dtype))
        of_each_b.append(of_b[start : start + size, first : first + rank].to(b_dtype))
        first += rank
    return (of_x if has_x else None, *[None] * 4, of_each_a, of_each_b, *[None] * 5)


adapted_linear.register_autograd(_backward, setup_context=_keep)


def wide_gradient(
    gradient: Tensor, wide: Tensor, weight: Tensor, a: Tensor, scale: Tensor, mask: Dropout, has_x: bool
) -> tuple[Tensor, Tensor]:
    """The gradients of `x` [P, D] (without `has_x` of no rows) and, in float32, of what `scale` made `a` [R, D].

    `wide` is `x` and, behind it, dropped `x` times `a` transposed; `gradient` that of its product with `weight`.
    """
    width = a.shape[1]
    if not has_x:
        of_low = gradient @ weight[:, width:]
        return gradient.new_empty((0, width)), low_rank_gradient(wide[:, :width], of_low, None, None, a, scale, mask)
    both, of_x = gradient @ weight, gradient.new_empty((len(gradient), width))
    of_a = low_rank_gradient(wide[:, :width], both[:, width:], both[:, :width], of_x, a, scale, mask)
    return of_x, of_a


def low_rank(x: Tensor, a: Tensor, copy: Tensor | None, low: Tensor, mask: Dropout) -> None:
    """Into `low` [P, R] dropped `x` times `a` transposed, and `x` into `copy`."""
    if suits_kernels(x):
        from surestep.model.fast.adapters.kernels import low_rank_on_gpu

        low_rank_on_gpu(x, a, copy, low, mask)
        return
    if copy is not None:
        copy.copy_(x)
    low.copy_(mask(x) @ a.t())


def low_rank_gradient(
    x: Tensor, of_low: Tensor, above: Tensor | None, of_x: Tensor | None, a: Tensor, scale: Tensor, mask: Dropout
) -> Tensor:
    """float32 [R, D], the gradient of what `scale` made `a`; into `of_x` that of `x`, plus `above`."""
    if suits_kernels(x):
        from surestep.model.fast.adapters.kernels import low_rank_gradient_on_gpu

        of_a: Tensor = low_rank_gradient_on_gpu(x, of_low, above, of_x, a, scale, mask)
        return of_a
    if of_x is not None:
        assert above is not None, "the rest of the gradient"
        torch.add(above, mask(of_low @ a), out=of_x)
    return weight_gradient(of_low, mask(x)) * scale[:, None]  # type: ignore[no-any-return]


def suits_kernels(x: Tensor) -> bool:
    """In half precision on a GPU; elsewhere the same is computed in the usual way."""
    return x.is_cuda and x.dtype != torch.float32

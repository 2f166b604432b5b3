"""A gated MLP with frozen weights and adapters of all three layers, as one operation.

Its two products are those of `adapted_linear`, of longer rows both: what lies between them, forward and backward, is
one kernel each (see `gated_kernels`). silu(gate) · up, a third of what lies between them, is not kept for the backward
pass, but computed again.

Shapes: `P` rows, `D` width of input and output, `F` of gate and of up, `R` ranks of their adapters and `S` of down's,
each with zeros up to a multiple of 8.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from surestep.model.fast.adapters.adapted_linear import low_rank, low_rank_gradient, suits_kernels, wide_gradient
from surestep.model.fast.adapters.hashed_dropout import Dropout
from surestep.model.fast.gated_product import gated_product, gated_product_backward
from surestep.model.precision.float32_weights import weight_gradient


@torch.library.custom_op("surestep::adapted_mlp", mutates_args=())
def adapted_mlp(
    x: Tensor,
    gates_weight: Tensor,
    gates_a: Tensor,
    gates_scale: Tensor,
    down_weight: Tensor,
    down_a: Tensor,
    down_scale: Tensor,
    a: list[Tensor],
    b: list[Tensor],
    seed: Tensor,
    gates_salt: Tensor,
    down_salt: Tensor,
    dropout: list[float],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """[P, D] of x [P, D], and what the backward pass needs: [P, D + R], [P, 2 F] and [P, S].

    All but the parameters are of one dtype; a custom operation is not cast by autocast.

    Args:
        x: its rows may lie apart.
        gates_weight: [2 F, D + R], gate above up, their B behind the weights' columns, each at its own ranks.
        gates_a: [R, D], the scaled A of gate and of up below each other.
        gates_scale: float32 [R], of each rank.
        down_weight: [D, F + S], B behind the weight's columns.
        down_a: [S, F], scaled.
        down_scale: float32 [S].
        a: the parameters that `gates_a` and `down_a` scale and round, of gate, up and down; for their gradients.
        b: those of B.
        seed: int32 scalar of the pass's dropout masks.
        gates_salt: int32 scalar that is added to it for the mask before gate and up.
        down_salt: the same for the mask before down.
        dropout: of the adapters' input, before gate and up and before down.
    """
    width, (ranks, hidden) = gates_a.shape[1], down_a.shape
    wide = x.new_empty((len(x), gates_weight.shape[1]))
    low_rank(x, gates_a, wide[:, :width], wide[:, width:], Dropout(seed, gates_salt, dropout[0]))
    joined = F.linear(wide, gates_weight)
    gated, low = x.new_empty((len(x), hidden + ranks)), x.new_empty((len(x), ranks))
    _gated_low_rank(joined, down_a, gated, low, Dropout(seed, down_salt, dropout[1]))
    return F.linear(gated, down_weight), wide, joined, low


@adapted_mlp.register_fake
def _(x, gates_weight, gates_a, gates_scale, down_weight, down_a, *_):  # type: ignore[no-untyped-def]
    sizes = down_weight.shape[0], gates_weight.shape[1], gates_weight.shape[0], down_a.shape[0]
    return tuple(x.new_empty((x.shape[0], size)) for size in sizes)


@torch.library.custom_op("surestep::adapted_mlp_backward", mutates_args=())
def adapted_mlp_backward(
    gradient: Tensor,
    wide: Tensor,
    joined: Tensor,
    low: Tensor,
    gates_weight: Tensor,
    gates_a: Tensor,
    gates_scale: Tensor,
    down_weight: Tensor,
    down_a: Tensor,
    down_scale: Tensor,
    ranks: list[int],
    seed: Tensor,
    gates_salt: Tensor,
    down_salt: Tensor,
    dropout: list[float],
    has_x: bool,
) -> list[Tensor]:
    """The gradients of x [P, D] (without `has_x` of no rows), and in float32 of `gates_a`, `down_a` and all B.

    Those are of gate and of up, [2, F, the larger of their `ranks`]; and of all that down's is part of, [D, S].
    """
    width = gates_a.shape[1]
    of_joined, of_down_a, of_gates_b = _gated_gradient(
        joined, gradient @ down_weight, down_a, down_scale, Dropout(seed, down_salt, dropout[1]), wide[:, width:], ranks
    )
    of_x, of_gates_a = wide_gradient(
        of_joined, wide, gates_weight, gates_a, gates_scale, Dropout(seed, gates_salt, dropout[0]), has_x
    )
    return [of_x, of_gates_a, of_down_a, of_gates_b, weight_gradient(gradient, low)]


@adapted_mlp_backward.register_fake
def _(  # type: ignore[no-untyped-def]
    gradient, wide, joined, low, gates_weight, gates_a, gates_scale, down_weight, down_a, down_scale, ranks, *others
):
    of_b = (2, joined.shape[1] // 2, max(ranks)), (gradient.shape[1], low.shape[1])
    sizes = gates_a.shape, down_a.shape, *of_b
    of_x = gradient.new_empty((gradient.shape[0] if others[-1] else 0, gates_a.shape[1]))
    return [of_x, *(gradient.new_empty(size, dtype=torch.float32) for size in sizes)]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    a, b = inputs[7:9]
    # Nobody asks for the gradient of what is kept; zeros in its place would be as large as it is.
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output[1:], *inputs[1:7], *inputs[9:12])
    ctx.dropout = inputs[12]
    ctx.ranks = [len(one) for one in a]
    ctx.dtypes = [one.dtype for one in a], [one.dtype for one in b]


def _backward(ctx: Any, gradient: Tensor, *_: Tensor | None) -> tuple[Any, ...]:
    *kept, seed, gates_salt, down_salt = ctx.saved_tensors
    has_x = ctx.needs_input_grad[0]
    of_gate, of_up, of_down = ctx.ranks
    of_x, of_gates_a, of_down_a, of_gates_b, of_down_b = adapted_mlp_backward(
        gradient.contiguous(), *kept, [of_gate, of_up], seed, gates_salt, down_salt, ctx.dropout, has_x
    )
    of_a = [of_gates_a[:of_gate], of_gates_a[of_gate : of_gate + of_up], of_down_a[:of_down]]
    of_b = [of_gates_b[0, :, :of_gate], of_gates_b[1, :, :of_up], of_down_b[:, :of_down]]
    of_a, of_b = (
        [one.to(dtype) for one, dtype in zip(of_each, dtypes, strict=True)]
        for of_each, dtypes in zip((of_a, of_b), ctx.dtypes, strict=True)
    )
    return (of_x if has_x else None, *[None] * 6, of_a, of_b, *[None] * 4)


adapted_mlp.register_autograd(_backward, setup_context=_keep)


def _gated_low_rank(joined: Tensor, a: Tensor, wide: Tensor, low: Tensor, mask: Dropout) -> None:
    """Into `wide` [P, F + S] silu(gate) · up and, behind it, that, dropped out, times `a` transposed; into `low` the
    latter alone."""
    if suits_kernels(joined):
        from surestep.model.fast.adapters.gated_kernels import MOST_RANKS_OF_ONE, gated_low_rank_on_gpu

        if len(a) <= MOST_RANKS_OF_ONE:
            gated_low_rank_on_gpu(joined, a, wide, low, mask)
            return
    hidden = a.shape[1]
    low_rank(gated_product(joined), a, wide[:, :hidden], wide[:, hidden:], mask)
    low.copy_(wide[:, hidden:])


def _gated_gradient(
    joined: Tensor, of_wide: Tensor, a: Tensor, scale: Tensor, mask: Dropout, before: Tensor, ranks: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of `joined`, of what `scale` made `a`, and of both B that were multiplied with `before`."""
    of_gate, of_up = ranks
    if suits_kernels(joined):
        from surestep.model.fast.adapters.gated_kernels import MOST_RANKS_OF_ONE, gated_low_rank_gradient_on_gpu

        if max(len(a), of_gate, of_up) <= MOST_RANKS_OF_ONE:
            found: tuple[Tensor, Tensor, Tensor] = gated_low_rank_gradient_on_gpu(
                joined, of_wide, a, scale, mask, before, (of_gate, of_up)
            )
            return found
    hidden = a.shape[1]
    of_product = joined.new_empty((len(joined), hidden))
    of_a = low_rank_gradient(
        gated_product(joined), of_wide[:, hidden:], of_wide[:, :hidden], of_product, a, scale, mask
    )
    of_joined = gated_product_backward(joined, of_product)
    products, of_b = weight_gradient(of_joined, before), of_a.new_zeros((2, hidden, max(ranks)))
    of_b[0, :, :of_gate] = products[:hidden, :of_gate]
    of_b[1, :, :of_up] = products[hidden:, of_gate : of_gate + of_up]
    return of_joined, of_a, of_b

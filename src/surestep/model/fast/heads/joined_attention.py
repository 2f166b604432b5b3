"""Attention over the joined product of queries, keys and values, forward and backward, as one operation.

Values are read where the product left them, and the gradients of all three are written into that of the product; those
of queries and keys go back through rotation and norm there.

Rotating queries as the attention reads them, and their gradients before it writes them, was tried: what that saves in
memory's time, the attention's blocks lose by waiting (docs/experiments/2026-11-29-attention-over-short-chains.md).

Shapes: `P` tokens of the pack (a multiple of 128), `H` query heads, `K` key heads, `E` head dimension.
"""

# Triton's kernels are no functions that a type checker understands.
# mypy: disable-error-code="no-untyped-def, no-any-return, untyped-decorator"

from typing import Any

import torch
from torch import Tensor

from surestep.model.attention.tree_kernel import Heads, attended, gradients_into
from surestep.model.fast.heads.rotated_heads import Rotation, rotate_gradients_back, rotate_heads


@torch.library.custom_op("surestep::joined_attention", mutates_args=())
def joined_attention(
    joined: Tensor,
    q_weight: Tensor | None,
    k_weight: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    eps: float,
    num_heads: int,
    num_key_heads: int,
    subtree_end: Tensor,
    positions: Tensor,
    lists: Tensor,
    scale: float,
    window: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """[P, H, E] attended values of `joined` [P, (H + 2 K) E], contiguous; and three that the backward pass needs.

    Those are queries [P, H, E] and keys [P, K, E] behind their rotation, and log2 of the sums [P, H]; they have no
    gradient. The first arguments are those of `rotated_heads`, the last those of `packed_attention`.
    """
    rotation = Rotation(q_weight, k_weight, cos, sin, eps)
    query, key = rotate_heads(joined, rotation, num_heads, num_key_heads)
    heads = Heads(query, key, heads_of_product(joined, num_heads, num_key_heads).value)
    out, lse = attended(heads, (subtree_end, positions, lists), scale, window)
    return out, query, key, lse


@joined_attention.register_fake
def _(
    joined, q_weight, k_weight, cos, sin, eps, num_heads, num_key_heads, subtree_end, positions, lists, scale, window
):
    rows, dim = len(joined), cos.shape[1]
    out, query = (joined.new_empty((rows, num_heads, dim)) for _ in range(2))
    key = joined.new_empty((rows, num_key_heads, dim))
    return out, query, key, joined.new_empty((rows, num_heads), dtype=torch.float32)


@torch.library.custom_op("surestep::joined_attention_backward", mutates_args=())
def joined_attention_backward(
    gradient: Tensor,
    joined: Tensor,
    q_weight: Tensor | None,
    k_weight: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    subtree_end: Tensor,
    positions: Tensor,
    lists: Tensor,
    out: Tensor,
    query: Tensor,
    key: Tensor,
    lse: Tensor,
    eps: float,
    scale: float,
    window: int,
    trained: bool,
) -> tuple[Tensor, Tensor]:
    """The gradient of `joined`, and those of both weights as float32 [2, E], which without `trained` are no numbers."""
    num_heads, num_key_heads = out.shape[1], key.shape[1]
    of_joined = torch.empty_like(joined)
    heads = Heads(query, key, heads_of_product(joined, num_heads, num_key_heads).value)
    to = heads_of_product(of_joined, num_heads, num_key_heads)
    gradients_into(to, gradient, heads, out, lse, (subtree_end, positions, lists), scale, window)
    rotation = Rotation(q_weight, k_weight, cos, sin, eps)
    return of_joined, rotate_gradients_back(of_joined, joined, rotation, num_heads, num_key_heads, trained=trained)


@joined_attention_backward.register_fake
def _(
    gradient, joined, q_weight, k_weight, cos, sin, subtree_end, positions, lists, out, query, key, lse, eps, scale,
    window, trained,
):  # fmt: skip
    return torch.empty_like(joined), joined.new_empty((2, cos.shape[1]), dtype=torch.float32)


def heads_of_product(joined: Tensor, num_heads: int, num_key_heads: int) -> Heads:
    """Views of the queries, keys and values of `joined` [P, (H + 2 K) E]."""
    heads = joined.view(len(joined), num_heads + 2 * num_key_heads, -1)
    return Heads(*torch.split(heads, [num_heads, num_key_heads, num_key_heads], dim=1))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    # Nobody asks for the gradients of what is kept; zeros in their place would be as large as it is.
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:5], *inputs[8:11], *output)
    ctx.facts = inputs[5], *inputs[11:]


def _backward(ctx: Any, gradient: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    q_weight, k_weight = ctx.saved_tensors[1:3]
    trained = any(ctx.needs_input_grad[1:3])
    of_joined, of_weights = joined_attention_backward(gradient, *ctx.saved_tensors, *ctx.facts, trained)
    of_both = (of_weights[0].to(q_weight.dtype), of_weights[1].to(k_weight.dtype)) if trained else (None, None)
    return (of_joined, *of_both, *[None] * 10)


joined_attention.register_autograd(_backward, setup_context=_keep)

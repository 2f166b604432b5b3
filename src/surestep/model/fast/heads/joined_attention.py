"""Attention over the joined product of queries, keys and values: little of it is written a second time.

Queries are normed and rotated as the attention reads them, values are read where the product left them; keys alone, a
part in four of Qwen3's heads, are written, for every block of queries reads them again. In the backward pass gradients
go from the attention's own kernels through rotation and norm into the joined product's. So training and scoring run
the same forward pass, and what is kept between is the product, the keys and what was attended.

Shapes: `P` tokens of the pack (a multiple of 128), `H` query heads, `K` key heads, `E` head dimension.
"""

# Triton's kernels are no functions that a type checker understands.
# mypy: disable-error-code="no-untyped-def, no-any-return, untyped-decorator"

from typing import Any

import torch
from torch import Tensor

from surestep.model.attention.head_rotation import Rotation
from surestep.model.attention.tree_kernel import Heads, attended, gradients_into
from surestep.model.fast.heads.split_heads_kernel import keys_of


@torch.library.custom_op("surestep::joined_attention", mutates_args=())
def joined_attention(
    joined: Tensor,
    q_weight: Tensor | None,
    k_weight: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    num_heads: int,
    num_key_heads: int,
    eps: float,
    subtree_end: Tensor,
    positions: Tensor,
    lists: Tensor,
    scale: float,
    window: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """[P, H, E] attended values of `joined` [P, (H + 2 K) E], contiguous; and two that the backward pass needs.

    Those are the keys [P, K, E] and log2 of the sums [P, H]; they have no gradient. The first arguments are those of
    `split_heads`, the last those of `packed_attention`.
    """
    query, _, value = _parts(joined, num_heads, num_key_heads)
    rotation = Rotation(q_weight, k_weight, cos.contiguous(), sin.contiguous(), eps)
    key = keys_of(joined, rotation, num_heads, num_key_heads)
    out, lse = attended(query, key, value, subtree_end, positions, lists, scale, window, rotation)
    return out, key, lse


@joined_attention.register_fake
def _(
    joined, q_weight, k_weight, cos, sin, num_heads, num_key_heads, eps, subtree_end, positions, lists, scale, window
):
    rows = joined.shape[0]
    out, key = (joined.new_empty((rows, number, cos.shape[1])) for number in (num_heads, num_key_heads))
    return out, key, joined.new_empty((rows, num_heads), dtype=torch.float32)


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
    key: Tensor,
    lse: Tensor,
    eps: float,
    scale: float,
    window: int,
    trained: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient of `joined`, and those of both weights as float32 [E], which without `trained` are no numbers."""
    num_heads, num_key_heads = out.shape[1], key.shape[1]
    query, keys_before, value = _parts(joined, num_heads, num_key_heads)
    of_joined = torch.empty_like(joined)
    rotation = Rotation(q_weight, k_weight, cos.contiguous(), sin.contiguous(), eps)
    of_weights = gradients_into(
        _parts(of_joined, num_heads, num_key_heads),
        gradient,
        Heads(query, key, value),
        out,
        lse,
        (subtree_end, positions, lists),
        scale,
        window,
        rotation,
        keys_before,
        trained=trained,
    )
    return of_joined, *of_weights


@joined_attention_backward.register_fake
def _(
    gradient, joined, q_weight, k_weight, cos, sin, subtree_end, positions, lists, out, key, lse, eps, scale, window,
    trained,
):  # fmt: skip
    of_weights = (joined.new_empty((cos.shape[1],), dtype=torch.float32) for _ in range(2))
    return torch.empty_like(joined), *of_weights


def _parts(joined: Tensor, num_heads: int, num_key_heads: int) -> Heads:
    """Views of its queries, keys and values."""
    heads = joined.view(joined.shape[0], num_heads + 2 * num_key_heads, -1)
    return Heads(*torch.split(heads, [num_heads, num_key_heads, num_key_heads], dim=1))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:5], *inputs[8:11], *output)
    ctx.facts = inputs[7], *inputs[11:]


def _backward(ctx: Any, gradient: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    kept = ctx.saved_tensors  # asked for once: where activations are recomputed, there is no second time
    q_weight, k_weight = kept[1:3]
    trained = any(ctx.needs_input_grad[1:3])
    of_joined, of_q, of_k = joined_attention_backward(gradient, *kept, *ctx.facts, trained)
    of_both = (of_q.to(q_weight.dtype), of_k.to(k_weight.dtype)) if trained else (None, None)
    return (of_joined, *of_both, *[None] * 10)


joined_attention.register_autograd(_backward, setup_context=_keep)

"""Attention over the joined product of queries, keys and values, for scoring: little of it is written a second time.

Queries are normed and rotated as the attention reads them, values are read where the product left them; keys alone, a
part in four of Qwen3's heads, are written, for every block of queries reads them again. In training all three are kept
for the backward pass, so there they are split before (`split_heads_kernel`).

Shapes: `P` tokens of the pack (a multiple of 128), `H` query heads, `K` key heads, `E` head dimension.
"""

# Triton's kernels are no functions that a type checker understands.
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import torch
from torch import Tensor

from surestep.model.attention.head_rotation import Rotation
from surestep.model.attention.tree_kernel import attended
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
) -> Tensor:
    """[P, H, E] attended values of `joined` [P, (H + 2 K) E], contiguous. Has no gradient.

    The first arguments are those of `split_heads`, the last those of `packed_attention`.
    """
    heads = joined.view(len(joined), num_heads + 2 * num_key_heads, cos.shape[1])
    query, _, value = torch.split(heads, [num_heads, num_key_heads, num_key_heads], dim=1)
    key = keys_of(joined, k_weight, cos, sin, num_heads, num_key_heads, eps)
    rotation = Rotation(q_weight, cos.contiguous(), sin.contiguous(), eps)
    return attended(query, key, value, subtree_end, positions, lists, scale, window, rotation)[0]


@joined_attention.register_fake
def _(
    joined, q_weight, k_weight, cos, sin, num_heads, num_key_heads, eps, subtree_end, positions, lists, scale, window
):
    return joined.new_empty((joined.shape[0], num_heads, cos.shape[1]))

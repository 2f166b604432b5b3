"""Attention of new tokens over keys that lie in the slots of a pool: the forward kernel of `tree_kernel`, which loads
the place of a query among the keys, and the slot of a key, instead of counting them. Nothing is copied together first.

Scoring only: there is no gradient.

Shapes: `P` queries, `V` keys on their axis, `N` slots, `H` query heads, `K` key heads, `E` head dimension.
"""

from __future__ import annotations

import torch
from torch import Tensor

from surestep.model.attention.tree_kernel import FORWARD, LOG2_E, forward_kernel, tiles


def pooled_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    subtree_end: Tensor,
    positions: Tensor,
    lists: Tensor,
    *,
    index: Tensor,
    slots: Tensor,
    scale: float,
    window: int,
) -> Tensor:
    """[P, H, E] attended values of `query` [P, H, E]; `key` and `value` are [N, K, E], of a pool.

    On the axis of keys stand `subtree_end` and `positions`, int32 [V], and `slots`, int64 [V], which says where each
    key lies; `lists` is from `pooled_block_lists`, and `index`, int32 [P], is the place of each query on the axis. A
    `window` of 0 is none.
    """
    num_tokens, num_heads, head_dim = query.shape
    out = query.new_empty((num_tokens, num_heads, head_dim))
    sums = query.new_empty((num_tokens, num_heads), dtype=torch.float32)
    sizes = tiles(num_heads, key.shape[1], head_dim, FORWARD.rows)
    forward_kernel[(key.shape[1], num_tokens // sizes["BQ"])](
        query, key, value, out, sums, subtree_end, positions, lists, index, slots,
        *query.stride()[:2], *key.stride()[:2], *value.stride()[:2], num_tokens, num_heads, scale * LOG2_E,
        **sizes, WINDOW=window, POOLED=True, **FORWARD.options,
    )  # fmt: skip
    return out

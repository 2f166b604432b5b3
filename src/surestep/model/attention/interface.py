"""One mask, four executions: a query `q` sees a key `k` iff `k <= q < subtree_end[k]`.

    dense    anywhere: scaled dot-product attention with the dense mask, tree by tree (the reference); in large
             trees block by block of queries, over the keys that the block can see
    triton   CUDA, half precision: kernels of our own (`surestep.model.attention.tree_kernel`), which read the mask as
             it is
    varlen   CUDA, chains only: the built-in flash attention over sequences of different lengths
    flex     CUDA: FlexAttention with a block mask computed from `subtree_end`

They plug into transformers through its attention interface under the name `surestep_tree`; the plan of a pack
(`surestep.model.attention.plan`) travels to every layer as the keyword argument `surestep_plan`. No model file is
forked.

Shapes: `P` tokens of the pack, `H` query heads, `K` key heads, `E` head dimension.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surestep.model.attention.executions import (
    compiled_flex,
    dense_attention,
    in_one_dtype,
    kernel_attention,
    varlen_attention,
)
from surestep.model.attention.plan import AttentionPlan

TREE_ATTENTION = "surestep_tree"


@torch.compiler.disable(reason="the plan differs from pack to pack")  # type: ignore[untyped-decorator]
def tree_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    surestep_plan: AttentionPlan,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of a pack, as transformers' attention interface calls it.

    `query` is [1, H, P, E], `key` and `value` [1, K, P, E]; returns [1, P, H, E]. `attention_mask` is ignored: the
    plan is the mask.
    """
    if softcap is not None:
        # Small scores are hardly capped, so a probe might not notice that the cap is missing.
        raise NotImplementedError("attention scores with a soft cap cannot be packed")
    plan = surestep_plan
    if plan.kernel_mask is not None and dropout == 0.0:
        return kernel_attention(plan.kernel_mask, query, key, value, scaling, sliding_window).unsqueeze(0), None
    query, key, value = in_one_dtype(query, key, value)
    window = sliding_window if sliding_window is not None and sliding_window <= plan.max_position else None
    execution = plan.execution if window is None and dropout == 0.0 else "dense"
    if execution == "varlen":
        output = varlen_attention(plan, query, key, value, scaling)
    elif execution == "flex":
        output = compiled_flex()(
            query,
            key,
            value,
            block_mask=plan.block_mask,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
    else:
        output = dense_attention(plan, query, key, value, scaling, dropout, window)
    return output.transpose(1, 2).contiguous(), None


def register_tree_attention() -> None:
    """Make `surestep_tree` known to transformers, once in a process."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    if TREE_ATTENTION not in AttentionInterface():
        AttentionInterface.register(TREE_ATTENTION, tree_attention)
        AttentionMaskInterface.register(TREE_ATTENTION, _no_mask)


def _no_mask(*_: Any, **__: Any) -> None:
    """transformers builds no mask of its own: the plan is the mask."""

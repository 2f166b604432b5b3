"""One mask, four executions: a query `q` sees a key `k` iff `k <= q < subtree_end[k]`.

    dense    anywhere: scaled dot-product attention with the dense mask, tree by tree (the reference); in large
             trees block by block of queries, over the keys that the block can see
    triton   CUDA, half precision: kernels of our own (`surestep.model.attention.tree_kernel`), which read the mask as
             it is
    varlen   CUDA, chains only: the built-in flash attention over sequences of different lengths
    flex     CUDA: FlexAttention with a block mask computed from `subtree_end`

They plug into transformers through its attention interface under the name `surestep_tree`; the plan of a pack
(`surestep.model.attention.prepared_mask`) reaches every layer as the keyword `surestep_mask`. No model file is
forked.

Shapes: `P` tokens of the pack, `H` query heads, `K` key heads, `E` head dimension.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from surestep.model.attention.executions import (
    compiled_flex,
    dense_attention,
    in_one_dtype,
    kernel_attention,
    pooled_kernel_attention,
    varlen_attention,
)
from surestep.model.attention.pooled_keys import PooledKeys
from surestep.model.attention.prepared_mask import PreparedMask

TREE_ATTENTION = "surestep_tree"

_HARMLESS = {
    "is_causal": "the plan is causal; False is refused",
    "position_ids": "positions are in the plan",
    "use_cache": "nothing is generated",
    "past_key_values": "nothing is generated",
    "cache_position": "nothing is generated",
    "output_attentions": "nobody reads attention weights",
    "output_hidden_states": "it changes what a model returns, not what it computes",
    "output_router_logits": "it changes what a model returns, not what it computes",
    "return_dict": "it changes what a model returns, not what it computes",
    "layer_idx": "a number",
}
"""What families hand to their attention that changes nothing in a pack, and why."""

_MEANING = {"softcap": "a soft cap", "s_aux": "attention sinks", "position_bias": "a bias", "indices": "chosen keys"}


@torch.compiler.disable(reason="the plan differs from pack to pack")  # type: ignore[no-untyped-call, untyped-decorator]
def tree_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    surestep_mask: PreparedMask | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | Literal["of the layer"] | None = "of the layer",
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention of a pack, as transformers' attention interface calls it.

    `query` is [1, H, P, E], `key` and `value` [1, K, P, E]; returns [1, P, H, E]. `attention_mask` is ignored: the
    plan is the mask. Not every family passes `sliding_window`; where one does not, it is looked up in the layer.

    Raises:
        NotImplementedError: an argument that changes attention in a way that packs do not know; or no mask, from
            families whose layers hand on no keywords (StableLM, Nemotron).
    """
    _refuse_unknown(others)
    if surestep_mask is None:
        raise NotImplementedError("its layers do not hand the mask of packed trees on to their attention")
    plan = surestep_mask
    if sliding_window == "of the layer":
        sliding_window = window_of_layer(module)
    if plan.kernel_mask is not None and dropout == 0.0:
        if isinstance(plan.keys, PooledKeys):
            query, key, value = in_one_dtype(query, key, value)
            plan.keys.write(module, key, value)
            return pooled_kernel_attention(plan, module, query, scaling, sliding_window).unsqueeze(0), None
        return kernel_attention(plan.kernel_mask, query, key, value, scaling, sliding_window).unsqueeze(0), None
    query, key, value = in_one_dtype(query, key, value)
    if plan.keys is not None:
        key, value = plan.keys.exchange(module, key, value)
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


def _refuse_unknown(others: dict[str, Any]) -> None:
    """Swallowed, an argument that changes attention might hardly show in a probe: small scores reach no soft cap."""
    unknown = [name for name, value in others.items() if value is not None and name not in _HARMLESS]
    if others.get("is_causal") is False:
        unknown.append("is_causal=False")
    if unknown:
        named = ", ".join(f"{name} ({_MEANING[name]})" if name in _MEANING else name for name in unknown)
        raise NotImplementedError(f"its attention takes {named}, which packed trees do not support")


def window_of_layer(module: Any) -> int | None:
    """The sliding window of an attention module whose family does not pass it: its own, or that of its kind of layer.

    transformers builds such a family's masks from the configuration alone.
    """
    if hasattr(module, "sliding_window"):
        return module.sliding_window  # type: ignore[no-any-return]
    config = getattr(module, "config", None)
    window: int | None = getattr(config, "sliding_window", None)
    if not window or getattr(config, "use_sliding_window", None) is False:
        return None
    layer_types, number = getattr(config, "layer_types", None), getattr(module, "layer_idx", None)
    if layer_types is not None and number is not None:
        return window if "sliding" in layer_types[number] else None
    return window


def register_tree_attention() -> None:
    """Make `surestep_tree` known to transformers, once in a process."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    if TREE_ATTENTION not in AttentionInterface():
        AttentionInterface.register(TREE_ATTENTION, tree_attention)
        AttentionMaskInterface.register(TREE_ATTENTION, _no_mask)


def _no_mask(*_: Any, **__: Any) -> None:
    """transformers builds no mask of its own: the plan is the mask."""

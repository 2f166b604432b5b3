"""The tree mask executed: `dense`, `triton`, `varlen` and `flex`, and which of them a device and its heads can run.

Shapes: `P` tokens of the pack, `H` query heads, `K` key heads, `E` head dimension.
"""

from __future__ import annotations

import importlib.util
import inspect
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from surestep.model.attention.pooled_keys import PooledKeys
from surestep.model.attention.prepared_mask import FLEX_BLOCK, KernelMask, PreparedMask


def kernel_attention(
    mask: KernelMask, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None
) -> Tensor:
    """[P, H, E] from the kernels of `tree_kernel`, of query [1, H, P, E], key and value [1, K, P, E]."""
    from surestep.model.attention.tree_kernel import packed_attention

    query, key, value = in_one_dtype(query, key, value)
    out: Tensor = packed_attention(
        # Squeezed, not indexed: the backward pass of an index fills and copies a whole tensor.
        query.squeeze(0).transpose(0, 1),
        key.squeeze(0).transpose(0, 1),
        value.squeeze(0).transpose(0, 1),
        *mask,
        query.shape[-1] ** -0.5 if scale is None else scale,
        window or 0,
    )[0]
    return out


def pooled_kernel_attention(
    plan: PreparedMask, module: Any, query: Tensor, scale: float | None, window: int | None
) -> Tensor:
    """[P, H, E] from the forward kernel of `tree_kernel`, of query [1, H, P, E] over the keys in the pool of a plan."""
    from surestep.model.attention.pooled_kernel import pooled_attention

    keys, mask = plan.keys, plan.kernel_mask
    assert isinstance(keys, PooledKeys), "a plan of pooled keys"
    assert keys.index_P is not None, "planned for the kernel"
    assert mask is not None, "planned for the kernel"
    return pooled_attention(
        query.squeeze(0).transpose(0, 1),
        *keys.pool.layer(module),
        *mask,
        index=keys.index_P,
        slots=keys.slots_V,
        scale=query.shape[-1] ** -0.5 if scale is None else scale,
        window=window or 0,
    )


def heads_of(backbone: Any) -> tuple[int, int, int]:
    """Query heads, key heads and their size, from a transformer's configuration; 0 where it names no heads."""
    config = backbone.config.get_text_config()
    heads = getattr(config, "num_attention_heads", 0)
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    return heads, key_heads, getattr(config, "head_dim", None) or config.hidden_size // max(heads, 1)


def can_run_kernel(num_heads: int, num_key_heads: int, head_dim: int) -> bool:
    """Whether the kernels of `tree_kernel` are made for these heads, and Triton is there to compile them."""
    if num_key_heads < 1 or num_heads % num_key_heads or head_dim not in (16, 32, 64, 128):
        return False
    return 2 <= num_heads // num_key_heads <= 16 and importlib.util.find_spec("triton") is not None


def kernel_runs_on(device: torch.device) -> bool:
    """Whether the kernels are made for this GPU: bf16 and asynchronous copies came with compute capability 8.0."""
    return device.type == "cuda" and torch.cuda.is_available() and torch.cuda.get_device_capability(device) >= (8, 0)


def in_one_dtype(*tensors: Tensor) -> list[Tensor]:
    """The tensors in the arithmetic of matrix products.

    Under autocast, norms with float32 weights leave queries and keys in float32 beside values in half precision;
    the fused kernels take one dtype, and are not cast by autocast themselves.
    """
    dtype = product_dtype(tensors[-1])
    return [tensor.to(dtype) for tensor in tensors]


def product_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which `x` is multiplied here: autocast's where it is on."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def dense_attention(
    plan: PreparedMask,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float | None,
    dropout: float,
    window: int | None,
) -> Tensor:
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    outputs = [
        F.scaled_dot_product_attention(
            query[:, :, block.start : block.end],
            key[:, :, block.keys],
            value[:, :, block.keys],
            attn_mask=block.mask,
            is_causal=block.mask is None,
            dropout_p=dropout,
            scale=scale,
        )
        for block in plan.dense_blocks(window)
    ]
    return torch.cat(outputs, dim=2)


def varlen_attention(plan: PreparedMask, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    heads, key_heads = query.shape[1], key.shape[1]
    accepted = _varlen_arguments()
    extra: dict[str, Any] = {}
    # torch 2.11 has neither a word for grouped heads nor a scale of its own, 2.13 has both; the kernel always took
    # grouped heads (on torch 2.11 equal to repeated keys and values to the bit, gradients to 3e-6).
    if heads != key_heads and "enable_gqa" in accepted:
        extra["enable_gqa"] = True
    default = query.shape[-1] ** -0.5
    if scale is not None and abs(scale - default) > 1e-9:
        if "scale" in accepted:
            extra["scale"] = scale
        else:
            query = query * (scale / default)
    if "is_causal" in accepted:
        extra["is_causal"] = True
    else:
        extra["window_size"] = (-1, 0)
    assert plan.cu_seqlens is not None, "a varlen plan knows where sequences start"
    output: Any = varlen_attn(
        # Squeezed, not indexed: the backward pass of an index fills and copies a whole tensor.
        query.squeeze(0).transpose(0, 1).contiguous(),
        key.squeeze(0).transpose(0, 1).contiguous(),
        value.squeeze(0).transpose(0, 1).contiguous(),
        plan.cu_seqlens,
        plan.cu_seqlens,
        plan.max_seqlen,
        plan.max_seqlen,
        **extra,
    )
    return output.transpose(0, 1).unsqueeze(0)  # type: ignore[no-any-return]


@cache
def _varlen_arguments() -> frozenset[str]:
    from torch.nn.attention.varlen import varlen_attn

    return frozenset(inspect.signature(varlen_attn).parameters)


@cache
def compiled_flex() -> Any:
    # Packs differ in length; one kernel for all of them beats a compilation for each.
    return torch.compile(_flex, dynamic=True)


def _flex(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    # Packs are whole blocks; a kernel that knows it checks no bounds.
    torch._check(query.shape[2] % FLEX_BLOCK == 0)  # type: ignore[no-untyped-call]
    return flex_attention(query, key, value, **options)

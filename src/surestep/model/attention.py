"""One mask, four executions: a query `q` sees a key `k` iff `k <= q < subtree_end[k]`.

    dense    anywhere: scaled dot-product attention with the dense mask, tree by tree (the reference); in large
             trees block by block of queries, over the keys that the block can see
    triton   CUDA, half precision: kernels of our own (`surestep.model.tree_kernel`) that read the mask as it is
    varlen   CUDA, chains only: the built-in flash attention over sequences of different lengths
    flex     CUDA: FlexAttention with a block mask computed from `subtree_end`

They plug into transformers through its attention interface under the name `surestep_tree`; the plan of a pack
travels to every layer as the keyword argument `surestep_plan`. No model file is forked.

Shapes: `P` tokens of the pack, `H` query heads, `K` key heads, `E` head dimension, `Q` blocks of 128 tokens.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from surestep.model.batch import TreeBatch
from surestep.model.block_lists import block_lists

TREE_ATTENTION = "surestep_tree"
FLEX_BLOCK = 128
DENSE_BLOCK = 192
LABEL_BLOCK = 16
Execution = Literal["dense", "triton", "varlen", "flex"]


class KernelMask(NamedTuple):
    """The mask as the kernels of `surestep.model.tree_kernel` read it.

    Attributes:
        subtree_end_P, positions_P: int32, of the padded pack.
        lists: from `block_lists`.
    """

    subtree_end_P: Tensor
    positions_P: Tensor
    lists: Tensor


@dataclass
class AttentionPlan:
    """How the mask of one pack is executed, computed once and used by all layers.

    Attributes:
        execution: which of the four.
        batch: the pack; `positions_P` is needed where a layer looks through a sliding window.
        max_position: the largest position in the pack; a window wider than this changes nothing.
        chain_B: for each tree, whether it is a plain chain.
        num_wanted: how many of `batch.label_index_S` are wanted steps; the rest is padding.
        cu_seqlens, max_seqlen: for `varlen`, where chains start and how long the longest is.
        block_mask: for `flex`.
        kernel_mask: for `triton`.
    """

    execution: Execution
    batch: TreeBatch
    max_position: int
    chain_B: list[bool]
    num_wanted: int
    cu_seqlens: Tensor | None = None
    max_seqlen: int = 0
    block_mask: Any = None
    kernel_mask: KernelMask | None = None
    _blocks: dict[int | None, list[DenseBlock]] = field(default_factory=dict)

    def to(self, device: torch.device) -> AttentionPlan:
        """The same plan on `device`; what was computed on the CPU is not computed again."""
        batch = self.batch.to(device)
        mask = self.block_mask
        if mask is not None:
            mask = mask.to(device)
            mask.mask_mod = _sees(batch.subtree_end_P.to(torch.int32))
        cu_seqlens = None if self.cu_seqlens is None else self.cu_seqlens.to(device, non_blocking=True)
        kernel_mask = self.kernel_mask
        if kernel_mask is not None:
            kernel_mask = KernelMask(*(tensor.to(device, non_blocking=True) for tensor in kernel_mask))
        return replace(self, batch=batch, cu_seqlens=cu_seqlens, block_mask=mask, kernel_mask=kernel_mask, _blocks={})

    def pinned(self) -> AttentionPlan:
        """The same plan in page-locked memory, from where a copy to the GPU does not wait."""
        cu_seqlens = None if self.cu_seqlens is None else self.cu_seqlens.pin_memory()
        mask = self.kernel_mask
        if mask is not None:
            mask = KernelMask(*(tensor.pin_memory() for tensor in mask))
        return replace(self, batch=self.batch.pinned(), cu_seqlens=cu_seqlens, kernel_mask=mask)

    def dense_blocks(self, window: int | None) -> list[DenseBlock]:
        """The pack as blocks of queries with the keys they see, in order."""
        if window not in self._blocks:
            self._blocks[window] = list(dense_blocks(self.batch, self.chain_B, window))
        return self._blocks[window]


@dataclass(frozen=True)
class DenseBlock:
    """Queries `start` to `end` of the pack and the keys that some of them see.

    Attributes:
        keys: a slice of the pack, or int64 indices into it.
        mask: bool [queries, keys]; None where the block is a whole chain, which is plainly causal.
    """

    start: int
    end: int
    keys: slice | Tensor
    mask: Tensor | None


def dense_blocks(batch: TreeBatch, chain_B: list[bool], window: int | None) -> Iterator[DenseBlock]:
    """Cut the pack into blocks of queries.

    A whole tree is one block while it is small. In a large one, a block of queries sees its ancestors and itself,
    a few hundred keys of thousands, so the cost grows with the paths and not with the square of the tree.
    """
    device = batch.subtree_end_P.device
    for (start, end), is_chain in zip(batch.spans, chain_B, strict=True):
        if is_chain and window is None:
            yield DenseBlock(start, end, slice(start, end), None)
            continue
        size = DENSE_BLOCK if end - start > 2 * DENSE_BLOCK else end - start
        for first in range(start, end, size):
            last = min(first + size, end)
            reaching = batch.subtree_end_P[start:last] > first
            keys = start + torch.nonzero(reaching).squeeze(1)
            queries = torch.arange(first, last, device=device)
            seen = (keys[None, :] <= queries[:, None]) & (queries[:, None] < batch.subtree_end_P[keys][None, :])
            if window is not None:
                seen &= batch.positions_P[first:last, None] - batch.positions_P[keys][None, :] < window
            yield DenseBlock(first, last, keys if len(keys) < last - start else slice(start, last), seen)


def dense_mask(subtree_end: Tensor, positions: Tensor, window: int | None = None) -> Tensor:
    """bool [P, P]: whether row (query) sees column (key).

    >>> dense_mask(torch.tensor([3, 2, 3]), torch.tensor([0, 1, 1])).int().tolist()
    [[1, 0, 0], [1, 1, 0], [1, 0, 1]]
    """
    index = torch.arange(len(subtree_end), device=subtree_end.device)
    query, key = index[:, None], index[None, :]
    seen = (key <= query) & (query < subtree_end[None, :])
    if window is not None:
        # A sliding window looks back along the path, not along the pack.
        seen &= positions[:, None] - positions[None, :] < window
    return seen


def plan_attention(batch: TreeBatch, execution: Execution) -> AttentionPlan:
    """Prepare `batch` for `execution`; `varlen` falls to `flex` where the pack holds a branching tree.

    `AttentionPlan.batch` is padded, its wanted steps to whole blocks of 16 and, but for `dense`, its tokens to whole
    blocks of 128: the model runs that one, and meets fewer different lengths. A batch on the CPU is planned there,
    without waiting for a device.
    """
    # One transfer for all trees; a check per tree would wait for the device once for each.
    ends = batch.subtree_end_P.cpu()
    chains = [bool((ends[start:end] == end).all()) for start, end in batch.spans]
    max_position = int(batch.positions_P.max()) if len(ends) else 0
    if execution == "varlen" and not all(chains):
        execution = "flex"
    num_wanted = len(batch.label_index_S)
    batch = batch.padded_labels(LABEL_BLOCK)
    if execution == "dense":
        return AttentionPlan(execution, batch, max_position, chains, num_wanted)
    # Below 128 queries, FlexAttention takes its decoding kernel, which does not compile for every head size (torch
    # 2.11: "no valid choices").
    padded = batch.padded(FLEX_BLOCK)
    # To varlen, the padding is one more chain: nobody reads what it computes.
    chains += [execution == "varlen"] * (len(padded.tree_starts) - len(batch.tree_starts))
    plan = AttentionPlan(execution, padded, max_position, chains, num_wanted)
    device = batch.tokens_P.device
    if execution == "triton":
        plan.kernel_mask = KernelMask(
            padded.subtree_end_P.to(torch.int32),
            padded.positions_P.to(torch.int32),
            block_lists(padded.subtree_end_P).to(device),
        )
    elif execution == "varlen":
        starts = torch.tensor(padded.tree_starts, dtype=torch.int32)
        plan.max_seqlen = int(starts.diff().max())
        plan.cu_seqlens = starts.to(device)
    else:
        plan.block_mask = tree_block_mask(padded.subtree_end_P.cpu(), device)
    return plan


def tree_block_mask(subtree_end_P: Tensor, device: torch.device) -> Any:
    """FlexAttention's block mask, from the largest and smallest `subtree_end` of each block of keys.

    A block of keys is seen by a later block of queries iff some key's subtree reaches into it, and in full iff
    every key's subtree spans it; on the diagonal the causal edge runs through. Costs (P / 128)² comparisons on the
    CPU.
    """
    from torch.nn.attention.flex_attention import BlockMask

    num_tokens = len(subtree_end_P)
    num_blocks = -(-num_tokens // FLEX_BLOCK)
    padding = num_blocks * FLEX_BLOCK - num_tokens
    last = F.pad(subtree_end_P, (0, padding), value=0).view(num_blocks, FLEX_BLOCK)
    block = torch.arange(num_blocks)
    query, key = block[:, None], block[None, :]
    reaches = (key < query) & (last.amax(1)[None, :] > query * FLEX_BLOCK)
    spans = (key < query) & (last.amin(1)[None, :] >= ((query + 1) * FLEX_BLOCK).clamp(max=num_tokens))
    partial, full = (reaches & ~spans) | (key == query), spans & reaches
    # Both directions are laid out here: left to BlockMask, the transposed one would be computed on the device.
    of_queries, of_queries_full, of_keys, of_keys_full = (
        [part.to(device) for part in _ordered(mask)] for mask in (partial, full, partial.T, full.T)
    )
    return BlockMask(
        (num_tokens, num_tokens),
        of_queries[0],
        of_queries[1],
        of_queries_full[0],
        of_queries_full[1],
        of_keys[0],
        of_keys[1],
        of_keys_full[0],
        of_keys_full[1],
        BLOCK_SIZE=(FLEX_BLOCK, FLEX_BLOCK),
        mask_mod=_sees(subtree_end_P.to(device, torch.int32)),
    )


def _sees(end_P: Tensor) -> Any:
    """The mask as FlexAttention asks for it, over the `subtree_end` of a pack."""

    def sees(_batch: Tensor, _head: Tensor, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
        return (kv_idx <= q_idx) & (q_idx < end_P[kv_idx])

    return sees


def _ordered(mask_QQ: Tensor) -> tuple[Tensor, Tensor]:
    """Number of marked key blocks of each query block, and their indices in front, as FlexAttention wants."""
    counts = mask_QQ.sum(1, dtype=torch.int32)
    indices = mask_QQ.int().argsort(dim=1, descending=True, stable=True).to(torch.int32)
    return counts[None, None], indices[None, None].contiguous()


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
    query, key, value = _one_dtype(query, key, value)
    window = sliding_window if sliding_window is not None and sliding_window <= plan.max_position else None
    execution = plan.execution if window is None and dropout == 0.0 else "dense"
    if execution == "varlen":
        output = _varlen(plan, query, key, value, scaling)
    elif execution == "flex":
        output = _compiled_flex()(
            query,
            key,
            value,
            block_mask=plan.block_mask,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
    else:
        output = _dense(plan, query, key, value, scaling, dropout, window)
    return output.transpose(1, 2).contiguous(), None


def kernel_attention(
    mask: KernelMask, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None
) -> Tensor:
    """[P, H, E] from the kernels of `tree_kernel`, of query [1, H, P, E], key and value [1, K, P, E]."""
    from surestep.model.tree_kernel import packed_attention

    query, key, value = _one_dtype(query, key, value)
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


def _one_dtype(*tensors: Tensor) -> list[Tensor]:
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


def _dense(
    plan: AttentionPlan,
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


def _varlen(plan: AttentionPlan, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
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
def _compiled_flex() -> Any:
    # Packs differ in length; one kernel for all of them beats a compilation for each.
    return torch.compile(_flex, dynamic=True)


def _flex(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    # Packs are whole blocks; a kernel that knows it checks no bounds.
    torch._check(query.shape[2] % FLEX_BLOCK == 0)  # type: ignore[no-untyped-call]
    return flex_attention(query, key, value, **options)


def register_tree_attention() -> None:
    """Make `surestep_tree` known to transformers; calling it again changes nothing."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(TREE_ATTENTION, tree_attention)
    AttentionMaskInterface.register(TREE_ATTENTION, _no_mask)


def _no_mask(*_: Any, **__: Any) -> None:
    """transformers builds no mask of its own: the plan is the mask."""

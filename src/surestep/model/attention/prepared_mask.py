"""The mask of one pack, planned once for all layers: which execution runs it, and what that needs of it.

A query `q` sees a key `k` iff `k <= q < subtree_end[k]`. Plans are made on the CPU, in the loader, and moved with the
pack; `surestep.model.attention.interface` runs them.

Shapes: `P` tokens of the pack, `B` trees, `Q` blocks of 128 tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from surestep.model.attention.block_lists import KEY_BLOCK, QUERY_BLOCK, block_lists
from surestep.model.attention.dense_mask import DenseBlock, dense_blocks
from surestep.model.attention.pooled_keys import PooledKeys
from surestep.model.key_value_pool import KeyLayout
from surestep.model.to_device import to_device
from surestep.model.tree_batch import TreeBatch

FLEX_BLOCK = 128
LABEL_BLOCK = 16
Execution = Literal["dense", "triton", "varlen", "flex"]


@dataclass(frozen=True)
class PassShape:
    """Sizes that a plan for the kernel is filled up to, so that passes have few different ones.

    Attributes:
        num_tokens: of the pack; whole blocks of 128.
        num_keys: places on the axis of keys, for a plan below tokens of earlier passes; whole blocks of 64.
    """

    num_tokens: int
    num_keys: int = 0

    @property
    def num_needed(self) -> int:
        """Needed steps: one of fewer than four tokens is rare, and a mean of fewer than eight in a long pass."""
        return self.num_tokens // 4 if self.num_tokens <= 8192 else max(2048, self.num_tokens // 8)

    @property
    def num_listed(self) -> int:
        """Numbers in the lists of blocks, at most; a multiple of 4, so that what lies behind them begins at 16 bytes.

        >>> PassShape(128).num_listed, PassShape(128, num_keys=1024).num_listed
        (32, 76)
        """
        queries, keys = self.num_tokens // QUERY_BLOCK, (self.num_keys or self.num_tokens) // KEY_BLOCK
        if self.num_keys:
            most = 2 * (queries + 1) + queries * keys
        else:  # below the diagonal and on it, by query and by key, which are twice as long
            most = 2 * (queries + 1) + 2 * (keys + 1) + queries * (queries + 1) // 2 + keys * (keys + 1)
        return -(-most // 4) * 4


class KernelMask(NamedTuple):
    """The mask as the kernels of `surestep.model.attention.tree_kernel` read it.

    Attributes:
        subtree_end_P, positions_P: int32, of the padded pack; of the axis of keys where a plan has `keys`.
        lists: from `block_lists`.
    """

    subtree_end_P: Tensor
    positions_P: Tensor
    lists: Tensor


@dataclass
class PreparedMask:
    """How the mask of one pack is executed, computed once and used by all layers.

    Attributes:
        execution: which of the four.
        batch: the pack; `positions_P` is needed where a layer looks through a sliding window.
        max_position: the largest position in the pack; a window wider than this changes nothing.
        chain_B: for each tree, whether it is a plain chain.
        num_needed: how many of `batch.label_index_S` are needed steps; the rest is padding.
        cu_seqlens, max_seqlen: for `varlen`, where chains start and how long the longest is.
        block_mask: for `flex`.
        kernel_mask: for `triton`.
        keys: in a pass below tokens of earlier ones, where their keys and values are; or what watches those of a pass.
    """

    execution: Execution
    batch: TreeBatch
    max_position: int
    chain_B: list[bool]
    num_needed: int
    cu_seqlens: Tensor | None = None
    max_seqlen: int = 0
    block_mask: Any = None
    kernel_mask: KernelMask | None = None
    keys: PooledKeys | KeyLayout | None = None
    _blocks: dict[int | None, list[DenseBlock]] = field(default_factory=dict)

    def to(self, device: torch.device) -> PreparedMask:
        """The same plan on `device`; what was computed on the CPU is not computed again."""
        batch = self.batch.to(device)
        mask = self.block_mask
        if mask is not None:
            mask = mask.to(device)
            mask.mask_mod = _sees(batch.subtree_end_P.to(torch.int32))
        cu_seqlens = None if self.cu_seqlens is None else to_device(self.cu_seqlens, device)
        kernel_mask = self.kernel_mask
        if kernel_mask is not None:
            kernel_mask = KernelMask(*(to_device(tensor, device) for tensor in kernel_mask))
        return replace(
            self,
            batch=batch,
            cu_seqlens=cu_seqlens,
            block_mask=mask,
            kernel_mask=kernel_mask,
            keys=self.keys.to(device) if isinstance(self.keys, PooledKeys) else self.keys,
            _blocks={},
        )

    def pinned(self) -> PreparedMask:
        """The same plan in page-locked memory, from where a copy to the GPU does not wait."""
        cu_seqlens = None if self.cu_seqlens is None else self.cu_seqlens.pin_memory()
        mask = self.kernel_mask
        if mask is not None:
            mask = KernelMask(*(tensor.pin_memory() for tensor in mask))
        keys = self.keys.pinned() if isinstance(self.keys, PooledKeys) else self.keys
        return replace(self, batch=self.batch.pinned(), cu_seqlens=cu_seqlens, kernel_mask=mask, keys=keys)

    def dense_blocks(self, window: int | None) -> list[DenseBlock]:
        """The pack as blocks of queries with the keys they see, in order."""
        if window not in self._blocks:
            axis = self.keys.axis if isinstance(self.keys, PooledKeys) else None
            self._blocks[window] = list(dense_blocks(self.batch, self.chain_B, window, axis))
        return self._blocks[window]


def chains(batch: TreeBatch) -> list[bool]:
    """For each tree, whether all its tokens' subtrees end where the tree does."""
    # One transfer and one comparison for all trees; a check per tree would wait for the device once for each.
    ends_P, edges = batch.subtree_end_P.cpu().numpy(), np.asarray(batch.tree_starts)
    differs_P = ends_P[: edges[-1]] != np.repeat(edges[1:], np.diff(edges))
    before = np.concatenate([[0], np.cumsum(differs_P)])
    found: list[bool] = (before[edges[1:]] == before[edges[:-1]]).tolist()
    return found


def padded_lists(lists: Tensor, shape: PassShape | None) -> Tensor:
    """Lists of blocks, filled up by what no start points at."""
    return lists if shape is None else F.pad(lists, (0, shape.num_listed - len(lists)))


def prepare_mask(batch: TreeBatch, execution: Execution, shape: PassShape | None = None) -> PreparedMask:
    """Prepare `batch` for `execution`; `varlen` falls to `flex` where the pack holds a branching tree.

    `AttentionPlan.batch` is padded, its needed steps to whole blocks of 16 and, but for `dense`, its tokens to whole
    blocks of 128: the model runs that one, and meets fewer different lengths. With a `shape` (`triton` only), all of it
    is filled up to that. A batch on the CPU is planned there, without waiting for a device.
    """
    is_chain = chains(batch)
    max_position = int(batch.positions_P.max()) if len(batch.positions_P) else 0
    if execution == "varlen" and not all(is_chain):
        execution = "flex"
    num_needed = len(batch.label_index_S)
    batch = batch.padded_labels(LABEL_BLOCK if shape is None else shape.num_needed)
    if execution == "dense":
        return PreparedMask(execution, batch, max_position, is_chain, num_needed)
    # Below 128 queries, FlexAttention takes its decoding kernel, which does not compile for every head size (torch
    # 2.11: "no valid choices").
    padded = batch.padded(FLEX_BLOCK if shape is None else shape.num_tokens)
    # To varlen, the padding is one more chain: nobody reads what it computes.
    is_chain += [execution == "varlen"] * (len(padded.tree_starts) - len(batch.tree_starts))
    plan = PreparedMask(execution, padded, max_position, is_chain, num_needed)
    device = batch.tokens_P.device
    if execution == "triton":
        plan.kernel_mask = KernelMask(
            padded.subtree_end_P.to(torch.int32),
            padded.positions_P.to(torch.int32),
            padded_lists(block_lists(padded.subtree_end_P), shape).to(device),
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

"""The blocks in which the dense execution computes the tree mask.

A query `q` sees a key `k` iff `k <= q < subtree_end[k]`; with a sliding window also iff fewer than `window` tokens of
their path lie between them.

Shapes: `P` tokens of the pack, `B` trees.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from surestep.model.attention.pooled_keys import KeyAxis
from surestep.model.tree_batch import TreeBatch

DENSE_BLOCK = 192
"""Queries in a block of a large tree."""


@dataclass(frozen=True)
class DenseBlock:
    """Queries `start` to `end` of the pack and the keys that some of them see.

    Attributes:
        keys: a slice of the pack, or int64 indices into it; of the axis of keys where there is one.
        mask: bool [queries, keys]; None where the block is a whole chain, which is plainly causal.
    """

    start: int
    end: int
    keys: slice | Tensor
    mask: Tensor | None


def dense_blocks(
    batch: TreeBatch, chain_B: list[bool], window: int | None, axis: KeyAxis | None = None
) -> Iterator[DenseBlock]:
    """Cut the pack into blocks of queries.

    A whole tree is one block while it is small. In a large one, a block of queries sees its ancestors and itself,
    a few hundred keys of thousands, so the cost grows with the paths and not with the square of the tree. Without an
    `axis` of their own, keys are the tokens of the pack.
    """
    device = batch.subtree_end_P.device
    if axis is None:
        axis = KeyAxis(batch.subtree_end_P, batch.positions_P, (0,) * len(batch.spans))
    # How much further a query stands on the axis of keys than among the queries.
    shift = 0
    for (start, end), is_chain, num_before in zip(batch.spans, chain_B, axis.prefix_B, strict=True):
        first_key, shift = start + shift, shift + num_before
        if is_chain and window is None and not num_before:
            yield DenseBlock(start, end, slice(first_key, end + shift), None)
            continue
        size = DENSE_BLOCK if end - start > 2 * DENSE_BLOCK else end - start
        for first in range(start, end, size):
            last = min(first + size, end)
            ends, positions = (part[first_key : last + shift] for part in (axis.subtree_end_V, axis.positions_V))
            keys = torch.nonzero(ends.to(device) > first + shift).squeeze(1)
            queries = torch.arange(first + shift, last + shift, device=device)
            ends, positions, keys = ends.to(device)[keys], positions.to(device)[keys], first_key + keys
            seen = (keys[None, :] <= queries[:, None]) & (queries[:, None] < ends[None, :])
            if window is not None:
                seen &= batch.positions_P[first:last, None] - positions[None, :] < window
            whole = slice(first_key, last + shift)
            yield DenseBlock(first, last, keys if len(keys) < whole.stop - whole.start else whole, seen)

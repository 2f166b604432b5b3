"""Attention of new tokens over keys that lie in the slots of a pool: the forward kernel of `tree_kernel`, which loads
the place of a query among the keys, and the slot of a key, instead of counting them. Nothing is copied together first.

A step of one solution is a tile or two of queries over thousands of keys: a handful of programs, each of which would
go through all of them while most of the GPU idles. So the keys of a tile are divided among several programs, and their
answers are joined by the sums that each has seen (Dao et al., Flash-Decoding, 2023).

Scoring only: there is no gradient.

Shapes: `P` queries, `V` keys on their axis, `N` slots, `H` query heads, `K` key heads, `E` head dimension, `D` parts of
the keys.
"""

# Triton evaluates annotations itself, and its kernels are no functions that a type checker understands.
# mypy: disable-error-code="no-untyped-def, no-any-return, untyped-decorator"

import torch
import triton
import triton.language as tl
from torch import Tensor

from surestep.model.attention.block_lists import KEY_BLOCK
from surestep.model.attention.tree_kernel import LOG2_E, OPTIONS, forward_kernel, tiles

_PROGRAMS = {2048: 128, 8192: 384}
"""Programs that a pass is divided into, by the places for keys that it has at least: about one for each multiprocessor
of a large GPU, which was faster than two or four over some hundred keys; three where each would go through thousands
(docs/experiments/2026-11-29-sessions-of-one-solution.md)."""

_MOST_PARTS = 32

ROWS = 8
"""Tokens by heads that a program joins: few, so that there are many programs. Divides every pass's, for a pass is whole
blocks of 32 tokens."""


def num_parts(num_tiles: int, num_keys: int) -> int:
    """Parts that the keys of each tile of queries are divided into, a power of two.

    >>> num_parts(16, 2048), num_parts(16, 8192), num_parts(96, 2048), num_parts(96, 8192), num_parts(256, 8192)
    (8, 16, 1, 4, 1)
    >>> num_parts(4, 128)
    2
    """
    programs = max(
        [count for places, count in _PROGRAMS.items() if places <= num_keys], default=min(_PROGRAMS.values())
    )
    wanted = max(1, min(programs // max(num_tiles, 1), num_keys // KEY_BLOCK, _MOST_PARTS))
    return 1 << (wanted.bit_length() - 1)


def tile_rows(head_dim: int) -> int:
    """Tokens by the heads that share a key head, in a tile."""
    return 128 if head_dim > 64 else 64


@triton.jit
def join_kernel(
    part_ptr, sum_ptr, out_ptr, num_rows, E: tl.constexpr, PARTS: tl.constexpr, ROWS: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    dim = tl.arange(0, E)
    part = tl.arange(0, PARTS)
    sums = tl.load(sum_ptr + part[:, None] * num_rows + row[None, :])
    peak = tl.max(sums, 0)
    total = tl.sum(tl.exp2(sums - peak[None, :]), 0)
    acc = tl.zeros([ROWS, E], tl.float32)
    for i in range(PARTS):
        weight = tl.exp2(tl.load(sum_ptr + i * num_rows + row) - peak) / total
        # A part that has no keys has written no answer.
        answer = tl.load(
            part_ptr + (i * num_rows + row)[:, None] * E + dim[None, :], mask=weight[:, None] > 0, other=0.0
        )
        acc += weight[:, None] * answer
    tl.store(out_ptr + row[:, None] * E + dim[None, :], acc.to(out_ptr.dtype.element_ty))


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
    sizes = tiles(num_heads, key.shape[1], head_dim, tile_rows(head_dim), KEY_BLOCK)
    num_tiles = num_tokens // sizes["BQ"]
    parts = num_parts(key.shape[1] * num_tiles, len(subtree_end))
    out = query.new_empty((num_tokens, num_heads, head_dim))
    # Apart until they are joined, answers are kept as they were summed, in float32.
    answers = out if parts == 1 else query.new_empty((parts, *out.shape), dtype=torch.float32)
    sums = query.new_empty((parts, num_tokens, num_heads), dtype=torch.float32)
    forward_kernel[(key.shape[1], num_tiles, parts)](
        query, key, value, answers, sums, subtree_end, positions, lists, index, slots, query, query, query,
        *query.stride()[:2], *key.stride()[:2], *value.stride()[:2], num_tokens, num_heads, scale * LOG2_E, 0.0,
        **sizes, WINDOW=window, POOLED=True, PARTS=parts, ROTATE=False, NORM=False, **OPTIONS,
    )  # fmt: skip
    if parts > 1:
        num_rows = num_tokens * num_heads
        join_kernel[(num_rows // ROWS,)](
            answers, sums, out, num_rows, E=head_dim, PARTS=parts, ROWS=ROWS, num_warps=4
        )  # fmt: skip
    return out

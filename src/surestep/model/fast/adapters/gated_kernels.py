"""Triton kernels of a gated MLP between its two products, adapters of both included.

Apart, silu(gate) · up is written by one kernel and read by another for the adapters of the product behind it; in the
backward pass its gradient is written, read twice and multiplied with what the adapters before it had made. Here gate
and up are read once in each direction, silu(gate) · up is computed again instead of kept, and the adapters' sums are
made while the numbers are there.

Shapes: `P` rows, `F` width of gate and of up, `R` ranks of the adapters of the product behind them.
"""

# Triton evaluates annotations itself, and its kernels are no functions that a type checker understands.
# mypy: disable-error-code="no-untyped-def, misc, untyped-decorator"

import torch
import triton
import triton.language as tl
from torch import Tensor

from surestep.model.fast.adapters.hashed_dropout import Dropout
from surestep.model.fast.adapters.kernels import column_hashes, keeps, rank_sizes, row_hashes, seeds

_FORWARD = {"BM": 32, "BK": 128, "num_warps": 4, "num_stages": 3}
_GRADIENT = {"BM": 32, "BK": 64, "num_warps": 4, "num_stages": 2}
MOST_RANKS_OF_ONE = 64
"""Of one adapter, that these kernels are for: a block of threads holds sums of all three."""
_SPLITS = 16
"""Shares of the rows whose sums are made apart; a constant, so that sums do not depend on the GPU."""


@triton.jit
def _gated_low_rank_kernel(
    joined_ptr, a_ptr, wide_ptr, low_ptr, seed_ptr, salt_ptr, num_rows, width, wide_stride, below, factor,
    R: tl.constexpr, RP: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr, DROP: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * BM + tl.arange(0, BM)
    place = row.to(tl.int64)[:, None]
    rank = tl.arange(0, RP)
    low = tl.zeros([BM, RP], tl.float32)
    if DROP:
        of_rows, of_columns = seeds(seed_ptr, salt_ptr)
        hashed_row = row_hashes(row, of_rows)
    for start in range(0, width, BK):
        column = start + tl.arange(0, BK)
        real = (row[:, None] < num_rows) & (column[None, :] < width)
        at = joined_ptr + place * 2 * width + column[None, :]
        gate = tl.load(at, mask=real, other=0.0).to(tl.float32)
        up = tl.load(at + width, mask=real, other=0.0).to(tl.float32)
        x = (gate * tl.sigmoid(gate) * up).to(wide_ptr.dtype.element_ty)
        tl.store(wide_ptr + place * wide_stride + column[None, :], x, mask=real)
        if DROP:
            x = tl.where(keeps(hashed_row, column_hashes(column, of_columns), below), x, 0.0)
        of_rank = (rank[None, :] < R) & (column[:, None] < width)
        low = tl.dot(x, tl.load(a_ptr + rank[None, :] * width + column[:, None], mask=of_rank, other=0.0), low)
    real = (row[:, None] < num_rows) & (rank[None, :] < R)
    low = (low * factor).to(wide_ptr.dtype.element_ty)
    tl.store(wide_ptr + place * wide_stride + width + rank[None, :], low, mask=real)
    tl.store(low_ptr + place * R + rank[None, :], low, mask=real)


@triton.jit
def _gated_low_rank_gradient_kernel(
    joined_ptr, above_ptr, of_low_ptr, a_ptr, scale_ptr, of_joined_ptr, of_a_ptr, before_ptr, of_b_ptr,
    seed_ptr, salt_ptr, num_rows, width, above_stride, before_stride, gate_ranks, up_ranks, below, factor,
    R: tl.constexpr, RP: tl.constexpr, B: tl.constexpr, BP: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr,
    SPLITS: tl.constexpr, DROP: tl.constexpr,
):  # fmt: skip
    # `before` are the thin products that gate and up are partly made of, those of gate first.
    column = tl.program_id(0) * BK + tl.arange(0, BK)
    rank, rank_before = tl.arange(0, RP), tl.arange(0, BP)
    of_rank = (rank[:, None] < R) & (column[None, :] < width)
    a = tl.load(a_ptr + rank[:, None] * width + column[None, :], mask=of_rank, other=0.0)
    of_a = tl.zeros([RP, BK], tl.float32)
    of_gate_b, of_up_b = tl.zeros([BP, BK], tl.float32), tl.zeros([BP, BK], tl.float32)
    if DROP:
        of_rows, of_columns = seeds(seed_ptr, salt_ptr)
        hashed_column = column_hashes(column, of_columns)
    for block in range(tl.program_id(1), tl.cdiv(num_rows, BM), SPLITS):
        row = block * BM + tl.arange(0, BM)
        place, there = row.to(tl.int64)[:, None], row[:, None] < num_rows
        real = there & (column[None, :] < width)
        at = place * 2 * width + column[None, :]
        gate = tl.load(joined_ptr + at, mask=real, other=0.0).to(tl.float32)
        up = tl.load(joined_ptr + at + width, mask=real, other=0.0).to(tl.float32)
        of_x = tl.load(above_ptr + place * above_stride + column[None, :], mask=real, other=0.0).to(tl.float32)
        of_low = tl.load(of_low_ptr + place * above_stride + rank[None, :], mask=there & (rank[None, :] < R), other=0.0)
        before = before_ptr + place * before_stride + rank_before[None, :]
        low_gate = tl.load(before, mask=there & (rank_before[None, :] < gate_ranks), other=0.0)
        low_up = tl.load(before + gate_ranks, mask=there & (rank_before[None, :] < up_ranks), other=0.0)
        share = tl.sigmoid(gate)
        silu = gate * share
        x = (silu * up).to(of_low.dtype)
        of_dropped = tl.dot(of_low, a)
        if DROP:
            kept = keeps(row_hashes(row, of_rows), hashed_column, below)
            x = tl.where(kept, x, 0.0)
            of_dropped = tl.where(kept, of_dropped * factor, 0.0)
        of_x += of_dropped
        of_a = tl.dot(tl.trans(of_low), x, of_a)
        of_gate = (of_x * up * share * (1 + gate * (1 - share))).to(of_joined_ptr.dtype.element_ty)
        of_up = (of_x * silu).to(of_joined_ptr.dtype.element_ty)
        tl.store(of_joined_ptr + at, of_gate, mask=real)
        tl.store(of_joined_ptr + at + width, of_up, mask=real)
        of_gate_b = tl.dot(tl.trans(low_gate), of_gate, of_gate_b)
        of_up_b = tl.dot(tl.trans(low_up), of_up, of_up_b)
    of_a *= factor * tl.load(scale_ptr + rank, mask=rank < R, other=0.0)[:, None]
    split = tl.program_id(1)
    tl.store(of_a_ptr + (split * R + rank[:, None]) * width + column[None, :], of_a, mask=of_rank)
    of_b_ptr += (split * 2 * width + column[None, :]) * B + rank_before[:, None]
    of_both = (rank_before[:, None] < B) & (column[None, :] < width)
    tl.store(of_b_ptr, of_gate_b, mask=of_both)
    tl.store(of_b_ptr + width * B, of_up_b, mask=of_both)


def gated_low_rank_on_gpu(joined: Tensor, a: Tensor, wide: Tensor, low: Tensor, mask: Dropout) -> None:
    """Into `wide` [P, F + R] x = silu(gate) · up of `joined` [P, 2 F], and behind it x, dropped out, times `a` [R, F]
    transposed; that alone into `low` [P, R], too."""
    ranks, width = a.shape
    options = forward_options(ranks)
    _gated_low_rank_kernel[(triton.cdiv(len(joined), options["BM"]),)](
        joined, a, wide, low, mask.seed, mask.salt, len(joined), width, wide.stride(0), *mask.threshold_and_factor,
        **options, DROP=mask.is_on,
    )  # fmt: skip


def gated_low_rank_gradient_on_gpu(
    joined: Tensor, of_wide: Tensor, a: Tensor, scale: Tensor, mask: Dropout, before: Tensor, ranks: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of `joined` [P, 2 F], where that of `wide` is `of_wide`, and of adapters, in float32.

    Those are of what float32 `scale` [R] made `a` [R, F]; and of the B of gate and of up, that were multiplied with
    `before` [P, ranks of both]: [2, F, the larger of their `ranks`].
    """
    num_ranks, width = a.shape
    options = gradient_options(num_ranks, *ranks)
    splits = max(1, min(_SPLITS, triton.cdiv(len(joined), options["BM"])))
    of_joined = torch.empty_like(joined)
    of_a = joined.new_empty((splits, num_ranks, width), dtype=torch.float32)
    of_b = joined.new_empty((splits, 2, width, options["B"]), dtype=torch.float32)
    _gated_low_rank_gradient_kernel[(triton.cdiv(width, options["BK"]), splits)](
        joined, of_wide, of_wide[:, width:], a, scale, of_joined, of_a, before, of_b, mask.seed, mask.salt,
        len(joined), width, of_wide.stride(0), before.stride(0), *ranks, *mask.threshold_and_factor,
        **options, SPLITS=splits, DROP=mask.is_on,
    )  # fmt: skip
    return of_joined, of_a.sum(0), of_b.sum(0)


def forward_options(ranks: int) -> dict[str, int]:
    """How the kernel of the forward pass is started: ranks, tile, and Triton's own options."""
    return rank_sizes(ranks) | _FORWARD


def gradient_options(ranks: int, *before: int) -> dict[str, int]:
    """The same of the kernel of the backward pass, with the ranks of the adapters of gate and of up."""
    of_gates = rank_sizes(max(before))
    return rank_sizes(ranks) | {"B": of_gates["R"], "BP": of_gates["RP"]} | _GRADIENT

"""Triton kernels of adapters' own products: thin ones, which take as long as their memory traffic.

A compiler makes three kernels of them: one drops the input out and writes it, one multiplies it, one adds what came of
it to the layer's output. Here the input is read once, forward and backward; its dropout mask is computed where the
numbers are (see `hashed_dropout`).

Shapes: `P` rows, `D` inputs, `R` ranks.
"""

# Triton evaluates annotations itself, and its kernels are no functions that a type checker understands.
# mypy: disable-error-code="no-untyped-def, misc, untyped-decorator"

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from surestep.model.fast.adapters.hashed_dropout import FIRST, GOLDEN, SECOND, Dropout

_LOW_RANK = {"BM": 64, "BK": 128, "num_warps": 4, "num_stages": 3}
_GRADIENT = {
    16: {"BM": 32, "BK": 64, "num_warps": 2, "num_stages": 2},
    64: {"BM": 64, "BK": 32, "num_warps": 4, "num_stages": 3},
    128: {"BM": 64, "BK": 64, "num_warps": 8, "num_stages": 3},
}
"""By the most ranks that it is for. The fastest of some fifty on an H200 with 16 and 48 ranks, for inputs of 1,024 to
4,096 (docs/experiments/2026-11-29-what-a-pass-is-made-of.md). A block may share 99 kB on many GPUs."""
MOST_RANKS = 128
"""Of which a block of threads holds sums; more are computed in several shares."""
_MANY_RANKS = 64
"""With more than these, a third block of numbers on its way does not fit what a block of threads may share."""
_SPLITS = {16: 32, 64: 16, 128: 16}
"""Shares of the rows whose sums are made apart, by ranks; constants, so that sums do not depend on the GPU."""
_FIRST, _SECOND = tl.constexpr(FIRST), tl.constexpr(SECOND)
_GOLDEN = tl.constexpr(GOLDEN)


@triton.jit
def _hashed(number):
    mixed = (number ^ (number >> 16)) * tl.full([], _FIRST, tl.uint32)
    mixed = (mixed ^ (mixed >> 15)) * tl.full([], _SECOND, tl.uint32)
    return mixed ^ (mixed >> 16)


@triton.jit
def seeds(seed_ptr, salt_ptr):
    """What hashes of rows and of columns start from."""
    seed = (tl.load(seed_ptr) + tl.load(salt_ptr)).to(tl.uint32, bitcast=True)
    of_rows = _hashed(seed * tl.full([], _GOLDEN, tl.uint32) + 1)
    return of_rows, _hashed(of_rows)


@triton.jit
def row_hashes(row, of_rows):
    return _hashed(2 * row.to(tl.uint32) + of_rows)


@triton.jit
def column_hashes(column, of_columns):
    return _hashed(2 * column.to(tl.uint32) + 1 + of_columns)


@triton.jit
def keeps(of_row, of_column, below):
    """As `hashed_dropout.keep_mask`: half of the folded hash is below that, the hash below twice as much."""
    row, column = tl.broadcast(of_row[:, None], of_column[None, :])
    folded = (row * column) ^ tl.umulhi(row, column)
    return folded < 2 * tl.cast(below, tl.uint32)


@triton.jit
def _low_rank_kernel(
    x_ptr, a_ptr, copy_ptr, low_ptr, seed_ptr, salt_ptr, num_rows, width, x_stride, copy_stride, low_stride,
    below, factor,
    R: tl.constexpr, RP: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr, COPY: tl.constexpr, DROP: tl.constexpr,
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
        x = tl.load(x_ptr + place * x_stride + column[None, :], mask=real, other=0.0)
        if COPY:
            tl.store(copy_ptr + place * copy_stride + column[None, :], x, mask=real)
        if DROP:
            # What is kept is scaled in the sums: a number here is touched by as few operations as there can be.
            x = tl.where(keeps(hashed_row, column_hashes(column, of_columns), below), x, 0.0)
        else:
            # By 1. A block that is stored and multiplied as it was loaded comes out wrong (Triton 3.6, 128 ranks).
            x = (x.to(tl.float32) * factor).to(x.dtype)
        of_rank = (rank[None, :] < R) & (column[:, None] < width)
        low = tl.dot(x, tl.load(a_ptr + rank[None, :] * width + column[:, None], mask=of_rank, other=0.0), low)
    real = (row[:, None] < num_rows) & (rank[None, :] < R)
    tl.store(low_ptr + place * low_stride + rank[None, :], (low * factor).to(low_ptr.dtype.element_ty), mask=real)


@triton.jit
def _gradient_kernel(
    x_ptr, of_low_ptr, above_ptr, of_x_ptr, a_ptr, scale_ptr, part_ptr, seed_ptr, salt_ptr, num_rows, width,
    x_stride, low_stride, above_stride, below, factor,
    R: tl.constexpr, RP: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr, SPLITS: tl.constexpr,
    OF_X: tl.constexpr, DROP: tl.constexpr,
):  # fmt: skip
    column = tl.program_id(0) * BK + tl.arange(0, BK)
    rank = tl.arange(0, RP)
    of_rank = (rank[:, None] < R) & (column[None, :] < width)
    a = tl.load(a_ptr + rank[:, None] * width + column[None, :], mask=of_rank, other=0.0)
    of_a = tl.zeros([RP, BK], tl.float32)
    if DROP:
        of_rows, of_columns = seeds(seed_ptr, salt_ptr)
        hashed_column = column_hashes(column, of_columns)
    for block in range(tl.program_id(1), tl.cdiv(num_rows, BM), SPLITS):
        row = block * BM + tl.arange(0, BM)
        place = row.to(tl.int64)[:, None]
        real = (row[:, None] < num_rows) & (column[None, :] < width)
        x = tl.load(x_ptr + place * x_stride + column[None, :], mask=real, other=0.0)
        in_low = (row[:, None] < num_rows) & (rank[None, :] < R)
        of_low = tl.load(of_low_ptr + place * low_stride + rank[None, :], mask=in_low, other=0.0)
        if OF_X:  # asked for before the products, which take no longer than it needs
            above = tl.load(above_ptr + place * above_stride + column[None, :], mask=real, other=0.0)
        if DROP:
            kept = keeps(row_hashes(row, of_rows), hashed_column, below)
            x = tl.where(kept, x, 0.0)
        of_a = tl.dot(tl.trans(of_low), x, of_a)
        if OF_X:
            of_x = tl.dot(of_low, a)
            if DROP:
                of_x = tl.where(kept, of_x * factor, 0.0)
            of_x += above.to(tl.float32)
            tl.store(of_x_ptr + place * width + column[None, :], of_x.to(of_x_ptr.dtype.element_ty), mask=real)
    of_a *= factor * tl.load(scale_ptr + rank, mask=rank < R, other=0.0)[:, None]
    part_ptr += tl.program_id(1) * R * width
    tl.store(part_ptr + rank[:, None] * width + column[None, :], of_a, mask=of_rank)


@triton.jit
def _copy_kernel(table_ptr, factor_ptr, like_ptr, BLOCK: tl.constexpr):
    piece = tl.program_id(0)
    table_ptr += piece * 5
    source = tl.load(table_ptr).to(tl.pointer_type(tl.float32))
    place = tl.load(table_ptr + 1).to(tl.pointer_type(like_ptr.dtype.element_ty))
    size, width, stride = tl.load(table_ptr + 2), tl.load(table_ptr + 3), tl.load(table_ptr + 4)
    factor = tl.load(factor_ptr + piece)
    for start in range(tl.program_id(1) * BLOCK, size, tl.num_programs(1) * BLOCK):
        number = start + tl.arange(0, BLOCK)
        x = tl.load(source + number, mask=number < size, other=0.0) * factor
        tl.store(place + number // width * stride + number % width, x.to(place.dtype.element_ty), mask=number < size)


class PieceTable:
    """Places, float32 tensors [rows, width] that are rounded into them, and their factors: copied by one kernel.

    The rows of a place may lie apart; where each tensor lies is read once.
    """

    def __init__(self, pieces: Sequence[tuple[Tensor, Tensor, float]]) -> None:
        self._like = pieces[0][0]
        facts = [(x.data_ptr(), to.data_ptr(), x.numel(), x.shape[1], to.stride(0)) for to, x, _ in pieces]
        device = self._like.device
        self._table = torch.tensor(facts, dtype=torch.int64).to(device)
        self._factors = torch.tensor([factor for *_, factor in pieces], dtype=torch.float32).to(device)

    def copy(self) -> None:
        """Round every tensor into its place."""
        _copy_kernel[(len(self._table), 16)](self._table, self._factors, self._like, BLOCK=1024)


def low_rank_on_gpu(x: Tensor, a: Tensor, copy: Tensor | None, low: Tensor, mask: Dropout) -> None:
    """Into `low` [P, R] `x` [P, D], dropped out, times `a` [R, D] transposed; and `x` as it is into `copy` [P, D].

    `low` and `copy` may be columns of a wider tensor.
    """
    for share in _shares(len(a)):
        _low_rank_share(x, a[share], copy, low[:, share], mask)
        copy = None


def _low_rank_share(x: Tensor, a: Tensor, copy: Tensor | None, low: Tensor, mask: Dropout) -> None:
    ranks, width = a.shape
    to = low if copy is None else copy
    _low_rank_kernel[(triton.cdiv(len(x), _LOW_RANK["BM"]),)](
        x, a, to, low, mask.seed, mask.salt, len(x), width, x.stride(0), to.stride(0), low.stride(0),
        *mask.threshold_and_factor, **low_rank_options(ranks), COPY=copy is not None, DROP=mask.is_on,
    )  # fmt: skip


def low_rank_gradient_on_gpu(
    x: Tensor, of_low: Tensor, above: Tensor | None, of_x: Tensor | None, a: Tensor, scale: Tensor, mask: Dropout
) -> Tensor:
    """float32 [R, D], the gradient of what float32 `scale` [R] made `a`, where that of `x aᵀ` is `of_low` [P, R].

    Into `of_x` [P, D], contiguous, goes the gradient of `x` plus `above` [P, D], which may be the same memory; without
    it none is computed.
    """
    found = []
    for share in _shares(len(a)):
        found.append(_gradient_share(x, of_low[:, share], above, of_x, a[share], scale[share], mask))
        above = of_x
    return found[0] if len(found) == 1 else torch.cat(found)


def _gradient_share(
    x: Tensor, of_low: Tensor, above: Tensor | None, of_x: Tensor | None, a: Tensor, scale: Tensor, mask: Dropout
) -> Tensor:
    ranks, width = a.shape
    options = gradient_options(ranks)
    splits = max(1, min(_SPLITS[_most_of(ranks)], triton.cdiv(len(x), options["BM"])))
    parts = x.new_empty((splits, ranks, width), dtype=torch.float32)
    above, to = (x, x) if above is None or of_x is None else (above, of_x)
    _gradient_kernel[(triton.cdiv(width, options["BK"]), splits)](
        x, of_low, above, to, a, scale, parts, mask.seed, mask.salt, len(x), width,
        x.stride(0), of_low.stride(0), above.stride(0),
        *mask.threshold_and_factor, **options, SPLITS=splits, OF_X=of_x is not None, DROP=mask.is_on,
    )  # fmt: skip
    return parts.sum(0)


def _shares(ranks: int) -> list[slice]:
    """Ranks that a kernel takes at once."""
    return [slice(first, min(first + MOST_RANKS, ranks)) for first in range(0, ranks, MOST_RANKS)]


def low_rank_options(ranks: int) -> dict[str, int]:
    """How the kernel of thin products is started: ranks, tile, and Triton's own options."""
    return rank_sizes(ranks) | _LOW_RANK | ({"num_stages": 2} if ranks > _MANY_RANKS else {})


def gradient_options(ranks: int) -> dict[str, int]:
    """The same of the kernel of their gradients."""
    return rank_sizes(ranks) | _GRADIENT[_most_of(ranks)]


def _most_of(ranks: int) -> int:
    return next(most for most in _GRADIENT if ranks <= most)


def rank_sizes(ranks: int) -> dict[str, int]:
    """Ranks as a kernel is compiled for them, and as a tile holds them."""
    return {"R": ranks, "RP": max(16, triton.next_power_of_2(ranks))}

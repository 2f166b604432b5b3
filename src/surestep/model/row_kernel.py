"""Triton kernels that end in rows scaled to the range of e4m3: each number is read once and written once.

A compiler's kernel for the same arithmetic reads a row twice, for its largest number and for the quotients; and what
comes before an operation that it cannot see into, it writes in half precision first.

A row lies in the registers of one block of threads: at most `surestep.model.fp8.LONGEST_ROW` numbers. Rows must be
contiguous.
"""

# Triton evaluates annotations itself, and its kernels are no functions that a type checker understands.
# mypy: disable-error-code="no-untyped-def, misc, untyped-decorator"

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _row_scale(largest_of_row, num_broken, LARGEST: tl.constexpr):
    # The hardware's largest number of a row passes over one that is none: it must not be made finite.
    return tl.where(num_broken > 0, float("nan"), tl.maximum(largest_of_row, 1e-12) / LARGEST)


@triton.jit
def _store_scaled(small_ptr, column, x, scale, in_row, LARGEST: tl.constexpr):
    small = tl.minimum(tl.maximum(x / scale, -LARGEST), LARGEST)
    tl.store(small_ptr + column, small.to(small_ptr.dtype.element_ty), mask=in_row)


@triton.jit
def _num_broken(x):
    return tl.sum((x != x).to(tl.int32), 0)


@triton.jit
def _quantise_kernel(
    x_ptr, small_ptr, scale_ptr, x_stride, width, LARGEST: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    in_row = column < width
    x = tl.load(x_ptr + row * x_stride + column, mask=in_row, other=0.0).to(tl.float32)
    scale = _row_scale(tl.max(tl.abs(x), 0), _num_broken(x), LARGEST)
    _store_scaled(small_ptr + row * width, column, x, scale, in_row, LARGEST)
    tl.store(scale_ptr + row, scale)


@triton.jit
def _gated_kernel(gate_ptr, small_ptr, scale_ptr, width, LARGEST: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    in_row = column < width
    gate_ptr += row * 2 * width
    gate = tl.load(gate_ptr + column, mask=in_row, other=0.0).to(tl.float32)
    up = tl.load(gate_ptr + width + column, mask=in_row, other=0.0).to(tl.float32)
    x = gate * tl.sigmoid(gate) * up
    scale = _row_scale(tl.max(tl.abs(x), 0), _num_broken(x), LARGEST)
    _store_scaled(small_ptr + row * width, column, x, scale, in_row, LARGEST)
    tl.store(scale_ptr + row, scale)


@triton.jit
def _gated_gradient_kernel(
    gate_ptr, of_x_ptr, small_ptr, scale_ptr, width, LARGEST: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    in_row = column < width
    gate_ptr += row * 2 * width
    gate = tl.load(gate_ptr + column, mask=in_row, other=0.0).to(tl.float32)
    up = tl.load(gate_ptr + width + column, mask=in_row, other=0.0).to(tl.float32)
    of_x = tl.load(of_x_ptr + row * width + column, mask=in_row, other=0.0).to(tl.float32)
    share = tl.sigmoid(gate)
    of_up = of_x * gate * share
    of_gate = of_x * up * share * (1 + gate * (1 - share))
    largest = tl.maximum(tl.max(tl.abs(of_gate), 0), tl.max(tl.abs(of_up), 0))
    scale = _row_scale(largest, _num_broken(of_gate) + _num_broken(of_up), LARGEST)
    small_ptr += row * 2 * width
    _store_scaled(small_ptr, column, of_gate, scale, in_row, LARGEST)
    _store_scaled(small_ptr + width, column, of_up, scale, in_row, LARGEST)
    tl.store(scale_ptr + row, scale)


def quantise_rows_on_gpu(x: Tensor, dtype: torch.dtype, largest: float) -> tuple[Tensor, Tensor]:
    """`x` [rows, width] as `dtype` and float32 [rows, 1]; its rows may lie apart."""
    small, scale = _empty(x, x.shape[1], dtype)
    _quantise_kernel[(len(x),)](x, small, scale, x.stride(0), x.shape[1], largest, **_launch(x.shape[1], few=4096))
    return small, scale


def quantise_gated_on_gpu(joined: Tensor, dtype: torch.dtype, largest: float) -> tuple[Tensor, Tensor]:
    """silu(gate) · up of `joined` [rows, gate and up beside it], as `quantise_rows_on_gpu` gives it."""
    width = joined.shape[1] // 2
    small, scale = _empty(joined, width, dtype)
    _gated_kernel[(len(joined),)](joined.contiguous(), small, scale, width, largest, **_launch(width, few=2048))
    return small, scale


def quantise_gated_gradient_on_gpu(
    joined: Tensor, of_product: Tensor, dtype: torch.dtype, largest: float
) -> tuple[Tensor, Tensor]:
    """The gradient of `joined` where that of silu(gate) · up is `of_product`, as `quantise_rows_on_gpu` gives it."""
    width = joined.shape[1] // 2
    small, scale = _empty(joined, 2 * width, dtype)
    _gated_gradient_kernel[(len(joined),)](
        joined.contiguous(), of_product.contiguous(), small, scale, width, largest, **_launch(width, few=1024)
    )
    return small, scale


def _empty(x: Tensor, width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    small = torch.empty((len(x), width), dtype=dtype, device=x.device)
    return small, torch.empty((len(x), 1), dtype=torch.float32, device=x.device)


def _launch(width: int, few: int) -> dict[str, int]:
    """Sizes of a launch; `few` numbers of a row are enough for four warps."""
    block = triton.next_power_of_2(width)
    return {"BLOCK": block, "num_warps": 4 if block <= few else 8 if block <= 4 * few else 16}

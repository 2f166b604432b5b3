"""Triton kernels that end in rows scaled to the range of e4m3: each number is read once and written once.

A compiler's kernel for the same arithmetic reads a row twice, for its largest number and for the quotients; and what
comes before an operation that it cannot see into, it writes in half precision first.

A row lies in the registers of one block of threads: at most `surestep.model.precision.fp8.LONGEST_ROW` numbers. Rows
must be contiguous.
"""

# Triton evaluates annotations itself, and its kernels are no functions that a type checker understands.
# mypy: disable-error-code="no-untyped-def, misc, untyped-decorator"

import torch
import triton
import triton.language as tl
from torch import Tensor

from surestep.model.precision.kernel_rows import larger, largest_of, launch_sizes, part, store_part, store_scale


@triton.jit
def _read(start_ptr, width, FIRST: tl.constexpr, SIZE: tl.constexpr, GATED: tl.constexpr):
    """A part of a row; or silu(gate) · up of it, where up lies behind gate."""
    x = part(start_ptr, width, FIRST, SIZE)
    if GATED:
        x = x * tl.sigmoid(x) * part(start_ptr + width, width, FIRST, SIZE)
    return x


@triton.jit
def _quantise_kernel(
    x_ptr, small_ptr, scale_ptr, x_stride, width,
    GATED: tl.constexpr, LARGEST: tl.constexpr, MAIN: tl.constexpr, REST: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    x_ptr += row * x_stride
    small_ptr += row * width
    x = _read(x_ptr, width, 0, MAIN, GATED)
    largest = largest_of(x)
    if REST > 0:
        rest = _read(x_ptr, width, MAIN, REST, GATED)
        largest = larger(largest, largest_of(rest))
    factor = store_scale(scale_ptr, row, largest, LARGEST)
    store_part(small_ptr, x, factor, width, 0, MAIN)
    if REST > 0:
        store_part(small_ptr, rest, factor, width, MAIN, REST)


@triton.jit
def _gated_gradient(joined_ptr, of_product_ptr, width, FIRST: tl.constexpr, SIZE: tl.constexpr):
    """Gradients of gate and of up, and the largest of both."""
    gate = part(joined_ptr, width, FIRST, SIZE)
    up = part(joined_ptr + width, width, FIRST, SIZE)
    of_product = part(of_product_ptr, width, FIRST, SIZE)
    share = tl.sigmoid(gate)
    of_up = of_product * gate * share
    of_gate = of_product * up * share * (1 + gate * (1 - share))
    return of_gate, of_up, larger(largest_of(of_gate), largest_of(of_up))


@triton.jit
def _gated_gradient_kernel(
    joined_ptr, of_product_ptr, small_ptr, scale_ptr, width,
    LARGEST: tl.constexpr, MAIN: tl.constexpr, REST: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    joined_ptr += row * 2 * width
    of_product_ptr += row * width
    small_ptr += row * 2 * width
    of_gate, of_up, largest = _gated_gradient(joined_ptr, of_product_ptr, width, 0, MAIN)
    if REST > 0:
        rest_of_gate, rest_of_up, largest_rest = _gated_gradient(joined_ptr, of_product_ptr, width, MAIN, REST)
        largest = larger(largest, largest_rest)
    factor = store_scale(scale_ptr, row, largest, LARGEST)
    store_part(small_ptr, of_gate, factor, width, 0, MAIN)
    store_part(small_ptr + width, of_up, factor, width, 0, MAIN)
    if REST > 0:
        store_part(small_ptr, rest_of_gate, factor, width, MAIN, REST)
        store_part(small_ptr + width, rest_of_up, factor, width, MAIN, REST)


def quantise_rows_on_gpu(x: Tensor, dtype: torch.dtype, largest: float) -> tuple[Tensor, Tensor]:
    """`x` [rows, width] as `dtype` and float32 [rows, 1]; its rows may lie apart."""
    return _quantised(x, x.shape[1], dtype, largest, few=16384, gated=False)


def quantise_gated_on_gpu(joined: Tensor, dtype: torch.dtype, largest: float) -> tuple[Tensor, Tensor]:
    """silu(gate) · up of `joined` [rows, gate and up beside it], as `quantise_rows_on_gpu` gives it."""
    return _quantised(joined, joined.shape[1] // 2, dtype, largest, few=2048, gated=True)


def _quantised(
    x: Tensor, width: int, dtype: torch.dtype, largest: float, *, few: int, gated: bool
) -> tuple[Tensor, Tensor]:
    small, scale = _empty(x, width, dtype)
    _quantise_kernel[(len(x),)](x, small, scale, x.stride(0), width, gated, largest, **launch_sizes(width, few))
    return small, scale


def quantise_gated_gradient_on_gpu(
    joined: Tensor, of_product: Tensor, dtype: torch.dtype, largest: float
) -> tuple[Tensor, Tensor]:
    """The gradient of `joined` where that of silu(gate) · up is `of_product`, as `quantise_rows_on_gpu` gives it."""
    width = joined.shape[1] // 2
    small, scale = _empty(joined, 2 * width, dtype)
    _gated_gradient_kernel[(len(joined),)](
        joined.contiguous(), of_product.contiguous(), small, scale, width, largest, **launch_sizes(width, few=1024)
    )
    return small, scale


def _empty(x: Tensor, width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    small = torch.empty((len(x), width), dtype=dtype, device=x.device)
    return small, torch.empty((len(x), 1), dtype=torch.float32, device=x.device)

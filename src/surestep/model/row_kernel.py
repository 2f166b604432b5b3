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
def _larger(a, b):
    # A number that is none stays one: the row's scale follows it, and so everything that is read from the row.
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _largest(x):
    return tl.reduce(tl.abs(x), 0, _larger)


@triton.jit
def _part(start_ptr, width, FIRST: tl.constexpr, SIZE: tl.constexpr):
    """Numbers `FIRST` to `FIRST + SIZE` of a row, 0 behind its end."""
    column = FIRST + tl.arange(0, SIZE)
    return tl.load(start_ptr + column, mask=column < width, other=0.0).to(tl.float32)


@triton.jit
def _store_part(start_ptr, x, factor, width, FIRST: tl.constexpr, SIZE: tl.constexpr):
    column = FIRST + tl.arange(0, SIZE)
    # The largest number of a row becomes the largest of the type, and conversion rounds to nearest: nothing overflows.
    tl.store(start_ptr + column, (x * factor).to(start_ptr.dtype.element_ty), mask=column < width)


@triton.jit
def _store_scale(scale_ptr, row, largest, LARGEST: tl.constexpr):
    """Store the scale of a row; returns what its numbers are multiplied by."""
    scale = tl.maximum(largest, 1e-12, propagate_nan=tl.PropagateNan.ALL) / LARGEST
    tl.store(scale_ptr + row, scale)
    return 1.0 / scale


@triton.jit
def _read(start_ptr, width, FIRST: tl.constexpr, SIZE: tl.constexpr, GATED: tl.constexpr):
    """A part of a row; or silu(gate) · up of it, where up lies behind gate."""
    x = _part(start_ptr, width, FIRST, SIZE)
    if GATED:
        x = x * tl.sigmoid(x) * _part(start_ptr + width, width, FIRST, SIZE)
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
    largest = _largest(x)
    if REST > 0:
        rest = _read(x_ptr, width, MAIN, REST, GATED)
        largest = _larger(largest, _largest(rest))
    factor = _store_scale(scale_ptr, row, largest, LARGEST)
    _store_part(small_ptr, x, factor, width, 0, MAIN)
    if REST > 0:
        _store_part(small_ptr, rest, factor, width, MAIN, REST)


@triton.jit
def _gated_gradient(joined_ptr, of_product_ptr, width, FIRST: tl.constexpr, SIZE: tl.constexpr):
    """Gradients of gate and of up, and the largest of both."""
    gate = _part(joined_ptr, width, FIRST, SIZE)
    up = _part(joined_ptr + width, width, FIRST, SIZE)
    of_product = _part(of_product_ptr, width, FIRST, SIZE)
    share = tl.sigmoid(gate)
    of_up = of_product * gate * share
    of_gate = of_product * up * share * (1 + gate * (1 - share))
    return of_gate, of_up, _larger(_largest(of_gate), _largest(of_up))


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
        largest = _larger(largest, largest_rest)
    factor = _store_scale(scale_ptr, row, largest, LARGEST)
    _store_part(small_ptr, of_gate, factor, width, 0, MAIN)
    _store_part(small_ptr + width, of_up, factor, width, 0, MAIN)
    if REST > 0:
        _store_part(small_ptr, rest_of_gate, factor, width, MAIN, REST)
        _store_part(small_ptr + width, rest_of_up, factor, width, MAIN, REST)


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
    _quantise_kernel[(len(x),)](x, small, scale, x.stride(0), width, gated, largest, **_launch(width, few))
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
    """Sizes of a launch; `few` numbers of a row are enough for four warps.

    A row is cut in two, so that few of a block's places lie behind its end: 9,728 numbers are 8,192 and 1,536.
    """
    main = triton.next_power_of_2(width + 1) // 2
    rest = triton.next_power_of_2(width - main) if width > main else 0
    return {"MAIN": main, "REST": rest, "num_warps": 4 if width <= few else 8 if width <= 4 * few else 16}

"""Triton kernels of a sum and its RMS norm, forward and backward: each number is read once and written once.

A compiler's kernels for the same read a row three times, and the gradient of the norm's weight, a sum over all rows,
costs it another kernel that reads everything again.

Rows must be contiguous and hold at most `surestep.model.precision.fp8.LONGEST_ROW` numbers.
"""

# Triton evaluates annotations itself, and its kernels are no functions that a type checker understands.
# mypy: disable-error-code="no-untyped-def, misc, untyped-decorator"

import torch
import triton
import triton.language as tl
from torch import Tensor

from surestep.model.precision.kernel_rows import larger, largest_of, launch_sizes, part, store_part, store_scale

_PROGRAMS = 1056
"""Blocks among which the backward pass deals out the rows; a constant, so that sums do not depend on the GPU.

Eight to each multiprocessor of an H200.
"""


@triton.jit
def _stored_sum(x_ptr, y_ptr, sum_ptr, width, FIRST: tl.constexpr, SIZE: tl.constexpr):
    """x + y, stored; and as it was rounded there, for the backward pass starts from that."""
    column = FIRST + tl.arange(0, SIZE)
    total = part(x_ptr, width, FIRST, SIZE) + part(y_ptr, width, FIRST, SIZE)
    rounded = total.to(sum_ptr.dtype.element_ty)
    tl.store(sum_ptr + column, rounded, mask=column < width)
    return rounded.to(tl.float32)


@triton.jit
def _sum_norm_kernel(
    x_ptr, y_ptr, weight_ptr, sum_ptr, normed_ptr, scale_ptr, width, eps,
    LARGEST: tl.constexpr, MAIN: tl.constexpr, REST: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    start = row * width
    x = _stored_sum(x_ptr + start, y_ptr + start, sum_ptr + start, width, 0, MAIN)
    squares = tl.sum(x * x, 0)
    if REST > 0:
        rest = _stored_sum(x_ptr + start, y_ptr + start, sum_ptr + start, width, MAIN, REST)
        squares += tl.sum(rest * rest, 0)
    factor = tl.rsqrt(squares / width + eps)
    x = x * factor * part(weight_ptr, width, 0, MAIN)
    if REST > 0:
        rest = rest * factor * part(weight_ptr, width, MAIN, REST)
    to_range = 1.0
    if LARGEST > 0:
        largest = largest_of(x)
        if REST > 0:
            largest = larger(largest, largest_of(rest))
        to_range = store_scale(scale_ptr, row, largest, LARGEST)
    store_part(normed_ptr + start, x, to_range, width, 0, MAIN)
    if REST > 0:
        store_part(normed_ptr + start, rest, to_range, width, MAIN, REST)


@triton.jit
def _sum_norm_gradient_kernel(
    of_sum_ptr, of_normed_ptr, sum_ptr, weight_ptr, of_x_ptr, of_weight_ptr, num_rows, width, eps,
    PROGRAMS: tl.constexpr, MAIN: tl.constexpr, REST: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    w = part(weight_ptr, width, 0, MAIN)
    dw = tl.zeros([MAIN], tl.float32)
    if REST > 0:
        rest_w = part(weight_ptr, width, MAIN, REST)
        rest_dw = tl.zeros([REST], tl.float32)
    # Three stages: the next rows are fetched while this one is computed.
    for row in tl.range(program, num_rows, PROGRAMS, num_stages=3):
        start = tl.cast(row, tl.int64) * width
        x, g = part(sum_ptr + start, width, 0, MAIN), part(of_normed_ptr + start, width, 0, MAIN)
        above = part(of_sum_ptr + start, width, 0, MAIN)
        squares, along = tl.sum(x * x, 0), tl.sum(g * w * x, 0)
        if REST > 0:
            rest_x, rest_g = part(sum_ptr + start, width, MAIN, REST), part(of_normed_ptr + start, width, MAIN, REST)
            rest_above = part(of_sum_ptr + start, width, MAIN, REST)
            squares += tl.sum(rest_x * rest_x, 0)
            along += tl.sum(rest_g * rest_w * rest_x, 0)
        factor = tl.rsqrt(squares / width + eps)
        along = along * factor * factor / width
        dw += g * x * factor
        store_part(of_x_ptr + start, (g * w - x * along) * factor + above, 1.0, width, 0, MAIN)
        if REST > 0:
            rest_dw += rest_g * rest_x * factor
            rest_of_x = (rest_g * rest_w - rest_x * along) * factor + rest_above
            store_part(of_x_ptr + start, rest_of_x, 1.0, width, MAIN, REST)
    of_weight_ptr += program * width
    store_part(of_weight_ptr, dw, 1.0, width, 0, MAIN)
    if REST > 0:
        store_part(of_weight_ptr, rest_dw, 1.0, width, MAIN, REST)


def sum_norm_on_gpu(x: Tensor, y: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x + y, and its norm, all [rows, width] of the dtype of `x`."""
    normed = torch.empty_like(x)
    return _forward(x, y, weight, eps, normed, None, 0.0), normed


def sum_norm_quantised_on_gpu(
    x: Tensor, y: Tensor, weight: Tensor, eps: float, dtype: torch.dtype, largest: float
) -> tuple[Tensor, Tensor, Tensor]:
    """x + y, and its norm as `dtype` and float32 [rows, 1]."""
    small = torch.empty_like(x, dtype=dtype)
    scale = x.new_empty((len(x), 1), dtype=torch.float32)
    return _forward(x, y, weight, eps, small, scale, largest), small, scale


def _forward(
    x: Tensor, y: Tensor, weight: Tensor, eps: float, normed: Tensor, scale: Tensor | None, largest: float
) -> Tensor:
    summed = torch.empty_like(x)
    _sum_norm_kernel[(len(x),)](
        x.contiguous(), y.contiguous(), weight, summed, normed, normed if scale is None else scale, x.shape[1], eps,
        largest, **launch_sizes(x.shape[1], few=4096),
    )  # fmt: skip
    return summed


def sum_norm_gradient_on_gpu(
    of_sum: Tensor, of_normed: Tensor, summed: Tensor, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """The gradient of both summands [rows, width], and that of the weight [width] in float32."""
    of_x = torch.empty_like(summed)
    num_rows, width = summed.shape
    programs = min(num_rows, _PROGRAMS)
    of_weight = summed.new_empty((programs, width), dtype=torch.float32)
    _sum_norm_gradient_kernel[(programs,)](
        of_sum.contiguous(), of_normed.contiguous(), summed, weight, of_x, of_weight, num_rows, width, eps,
        programs, **launch_sizes(width, few=4096),
    )  # fmt: skip
    return of_x, of_weight.sum(0)

"""A Triton kernel that scales every row to the range of e4m3: each number is read once and written once.

A compiler's kernel for the same arithmetic reads a row twice, for its largest number and for the quotients.
"""

# Triton evaluates annotations itself, and its kernels are no functions that a type checker understands.
# mypy: disable-error-code="no-untyped-def, misc, untyped-decorator"

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _quantise_kernel(
    x_ptr, small_ptr, scale_ptr, x_stride, width, LARGEST: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * x_stride + column, mask=column < width, other=0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(x), 0), 1e-12) / LARGEST
    # The hardware's largest number of a row passes over one that is none: it must not be made finite.
    broken = tl.sum((x != x).to(tl.int32), 0) > 0
    scale = tl.where(broken, float("nan"), scale)
    small = tl.minimum(tl.maximum(x / scale, -LARGEST), LARGEST)
    tl.store(small_ptr + row * width + column, small.to(small_ptr.dtype.element_ty), mask=column < width)
    tl.store(scale_ptr + row, scale)


def quantise_rows_on_gpu(x: Tensor, dtype: torch.dtype, largest: float) -> tuple[Tensor, Tensor]:
    """`x` [rows, width] as `dtype` and float32 [rows, 1]; rows must be contiguous.

    At most `surestep.model.fp8.LONGEST_ROW` numbers a row: it lies in the registers of one block of threads.
    """
    rows, width = x.shape
    small = torch.empty((rows, width), dtype=dtype, device=x.device)
    scale = torch.empty((rows, 1), dtype=torch.float32, device=x.device)
    block = triton.next_power_of_2(width)
    warps = 4 if block <= 4096 else 8 if block <= 16384 else 16
    _quantise_kernel[(rows,)](x, small, scale, x.stride(0), width, largest, block, num_warps=warps)
    return small, scale

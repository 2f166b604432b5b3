"""What Triton kernels that hold a row in the registers of one block of threads share.

A row is cut in two parts, `MAIN` and `REST` numbers long, so that few of a block's places lie behind its end.
"""

# Triton evaluates annotations itself, and its kernels are no functions that a type checker understands.
# mypy: disable-error-code="no-untyped-def, misc, untyped-decorator"

import triton
import triton.language as tl


@triton.jit
def larger(a, b):
    # A number that is none stays one: the row's scale follows it, and so everything that is read from the row.
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def largest_of(x):
    return tl.reduce(tl.abs(x), 0, larger)


@triton.jit
def part(start_ptr, width, FIRST: tl.constexpr, SIZE: tl.constexpr):
    """Numbers `FIRST` to `FIRST + SIZE` of a row, 0 behind its end."""
    column = FIRST + tl.arange(0, SIZE)
    return tl.load(start_ptr + column, mask=column < width, other=0.0).to(tl.float32)


@triton.jit
def store_part(start_ptr, x, factor, width, FIRST: tl.constexpr, SIZE: tl.constexpr):
    column = FIRST + tl.arange(0, SIZE)
    # The largest number of a row becomes the largest of the type, and conversion rounds to nearest: nothing overflows.
    tl.store(start_ptr + column, (x * factor).to(start_ptr.dtype.element_ty), mask=column < width)


@triton.jit
def store_scale(scale_ptr, row, largest, LARGEST: tl.constexpr):
    """Store the scale of a row; returns what its numbers are multiplied by."""
    scale = tl.maximum(largest, 1e-12, propagate_nan=tl.PropagateNan.ALL) / LARGEST
    tl.store(scale_ptr + row, scale)
    return 1.0 / scale


def launch_sizes(width: int, few: int) -> dict[str, int]:
    """Sizes of a launch; `few` numbers of a row are enough for four warps.

    A row is cut in two, so that few of a block's places lie behind its end: 9,728 numbers are 8,192 and 1,536.
    """
    main = triton.next_power_of_2(width + 1) // 2
    rest = triton.next_power_of_2(width - main) if width > main else 0
    return {"MAIN": main, "REST": rest, "num_warps": 4 if width <= few else 8 if width <= 4 * few else 16}

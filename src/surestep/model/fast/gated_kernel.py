"""Triton kernels of silu(gate) · up, forward and backward, of gate and up beside each other in one row.

So both can come out of one product, and their gradients go into one: nothing is put together in between.
"""

# Triton evaluates annotations itself, and its kernels are no functions that a type checker understands.
# mypy: disable-error-code="no-untyped-def, misc, untyped-decorator"

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024


@triton.jit
def _numbers(start_ptr, column, width):
    return tl.load(start_ptr + column, mask=column < width, other=0.0).to(tl.float32)


@triton.jit
def _gated_kernel(joined_ptr, out_ptr, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    joined_ptr += row * 2 * width
    gate, up = _numbers(joined_ptr, column, width), _numbers(joined_ptr + width, column, width)
    product = gate * tl.sigmoid(gate) * up
    tl.store(out_ptr + row * width + column, product.to(out_ptr.dtype.element_ty), mask=column < width)


@triton.jit
def _gated_gradient_kernel(joined_ptr, of_product_ptr, of_joined_ptr, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    joined_ptr += row * 2 * width
    of_joined_ptr += row * 2 * width
    gate, up = _numbers(joined_ptr, column, width), _numbers(joined_ptr + width, column, width)
    of_product = _numbers(of_product_ptr + row * width, column, width)
    share = tl.sigmoid(gate)
    of_gate = of_product * up * share * (1 + gate * (1 - share))
    of_up = of_product * gate * share
    tl.store(of_joined_ptr + column, of_gate.to(of_joined_ptr.dtype.element_ty), mask=column < width)
    tl.store(of_joined_ptr + width + column, of_up.to(of_joined_ptr.dtype.element_ty), mask=column < width)


def gated_on_gpu(joined: Tensor) -> Tensor:
    """silu(gate) · up [rows, width] of `joined` [rows, gate and up beside it], contiguous."""
    width = joined.shape[1] // 2
    out = joined.new_empty((len(joined), width))
    _gated_kernel[(len(joined), triton.cdiv(width, _BLOCK))](joined, out, width, _BLOCK)
    return out


def gated_gradient_on_gpu(joined: Tensor, of_product: Tensor) -> Tensor:
    """The gradient of `joined`, where that of silu(gate) · up is `of_product`; both contiguous."""
    width = joined.shape[1] // 2
    of_joined = torch.empty_like(joined)
    _gated_gradient_kernel[(len(joined), triton.cdiv(width, _BLOCK))](joined, of_product, of_joined, width, _BLOCK)
    return of_joined

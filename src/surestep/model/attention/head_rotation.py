"""Norm and rotation of heads as Triton functions, which several kernels share.

The norm is that of Qwen3 (RMS of a head, Zhang and Sennrich, 2019), the rotation that of all families in
`surestep.model.backbones.families` (RoPE, Su et al., 2021, halves of a head as pairs). Everything is float32.

Shapes: `E` head dimension (a power of two).
"""

# Triton evaluates annotations itself, and its kernels are no functions that a type checker understands.
# mypy: disable-error-code="no-untyped-def, misc, untyped-decorator"

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor


class Rotation(NamedTuple):
    """How queries are normed and rotated as they are read.

    Attributes:
        weight: of the norm, [E]; None without one.
        cos, sin: [P, E], contiguous.
        eps: of the norm.
    """

    weight: Tensor | None
    cos: Tensor
    sin: Tensor
    eps: float


@triton.jit
def halves(start_ptr, place, E: tl.constexpr):
    """Both halves of the rows of E numbers that begin at `place`."""
    at = start_ptr + place[:, None] + tl.arange(0, E // 2)[None, :]
    return tl.load(at).to(tl.float32), tl.load(at + E // 2).to(tl.float32)


@triton.jit
def weight_halves(weight_ptr, E: tl.constexpr):
    half = tl.arange(0, E // 2)
    first = tl.load(weight_ptr + half).to(tl.float32)[None, :]
    return first, tl.load(weight_ptr + E // 2 + half).to(tl.float32)[None, :]


@triton.jit
def normed_and_rotated(
    x1, x2, weight_ptr, cos1, cos2, sin1, sin2, eps, E: tl.constexpr, NORM: tl.constexpr
):  # fmt: skip
    if NORM:
        w1, w2 = weight_halves(weight_ptr, E)
        scale = tl.rsqrt((tl.sum(x1 * x1, 1) + tl.sum(x2 * x2, 1)) / E + eps)[:, None]
        x1, x2 = x1 * scale * w1, x2 * scale * w2
    return x1 * cos1 - x2 * sin1, x2 * cos2 + x1 * sin2


@triton.jit
def rotated_rows(
    x_ptr, place, weight_ptr, cos_ptr, sin_ptr, token, eps,
    E: tl.constexpr, ROWS: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """[ROWS, E] heads that begin at `place`, of tokens `token`, in the dtype that they are held in."""
    x1, x2 = halves(x_ptr, place, E)
    cos1, cos2 = halves(cos_ptr, token * E, E)
    sin1, sin2 = halves(sin_ptr, token * E, E)
    x1, x2 = normed_and_rotated(x1, x2, weight_ptr, cos1, cos2, sin1, sin2, eps, E, NORM)
    dtype = x_ptr.dtype.element_ty
    return tl.reshape(tl.permute(tl.join(x1.to(dtype), x2.to(dtype)), (0, 2, 1)), (ROWS, E))

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
    """How heads are normed and rotated as they are read.

    Attributes:
        q_weight, k_weight: of the norms, [E]; None without them.
        cos, sin: [P, E], contiguous.
        eps: of the norms.
    """

    q_weight: Tensor | None
    k_weight: Tensor | None
    cos: Tensor
    sin: Tensor
    eps: float

    def read_by_kernel(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Its tensors, `x` in place of weights that there are not: a kernel wants a place, though it reads nothing."""
        q_weight, k_weight = (x if weight is None else weight for weight in self[:2])
        return q_weight, k_weight, self.cos, self.sin


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
def gradient_before_rotation(
    d1, d2, x1, x2, weight_ptr, cos1, cos2, sin1, sin2, eps, E: tl.constexpr, NORM: tl.constexpr
):  # fmt: skip
    """From gradients of both halves after norm and rotation to those before; and of the norm's weight, row by row.

    `x1` and `x2` are what was normed; without a norm they are not looked at.
    """
    d1, d2 = d1 * cos1 + d2 * sin2, d2 * cos2 - d1 * sin1
    of_w1, of_w2 = d1, d2
    if NORM:
        w1, w2 = weight_halves(weight_ptr, E)
        scale = tl.rsqrt((tl.sum(x1 * x1, 1) + tl.sum(x2 * x2, 1)) / E + eps)[:, None]
        x1, x2 = x1 * scale, x2 * scale
        of_w1, of_w2 = d1 * x1, d2 * x2
        d1, d2 = d1 * w1, d2 * w2
        along = ((tl.sum(d1 * x1, 1) + tl.sum(d2 * x2, 1)) / E)[:, None]
        d1, d2 = (d1 - x1 * along) * scale, (d2 - x2 * along) * scale
    return d1, d2, of_w1, of_w2


@triton.jit
def in_halves(rows, E: tl.constexpr, ROWS: tl.constexpr):
    """Both halves of rows [ROWS, E]."""
    return tl.split(tl.permute(tl.reshape(rows, (ROWS, 2, E // 2)), (0, 2, 1)))


@triton.jit
def store_gradient_before_rotation(
    of_x_ptr, to, x_ptr, place, of_rows, counted, weight_ptr, of_weight_ptr, cos_ptr, sin_ptr, token, eps,
    E: tl.constexpr, ROWS: tl.constexpr, NORM: tl.constexpr, TRAINED: tl.constexpr,
):  # fmt: skip
    """Write the gradient of heads [ROWS, E] that `rotated_rows` reads, `of_rows` being that of what it gives.

    They begin at `place` where they were read, and at `to` in its gradient; rows that are not `counted` are not
    written. Where the norm's weight is `TRAINED`, these rows' share of its gradient goes to `of_weight_ptr` [E].
    """
    d1, d2 = in_halves(of_rows, E, ROWS)
    x1, x2 = d1, d2
    if NORM:
        x1, x2 = halves(x_ptr, place, E)
    cos1, cos2 = halves(cos_ptr, token * E, E)
    sin1, sin2 = halves(sin_ptr, token * E, E)
    d1, d2, of_w1, of_w2 = gradient_before_rotation(
        d1, d2, x1, x2, weight_ptr, cos1, cos2, sin1, sin2, eps, E, NORM
    )  # fmt: skip
    half = tl.arange(0, E // 2)
    at = of_x_ptr + to[:, None] + half[None, :]
    dtype = of_x_ptr.dtype.element_ty
    tl.store(at, d1.to(dtype), mask=counted[:, None])
    tl.store(at + E // 2, d2.to(dtype), mask=counted[:, None])
    if TRAINED:
        tl.store(of_weight_ptr + half, tl.sum(tl.where(counted[:, None], of_w1, 0.0), 0))
        tl.store(of_weight_ptr + E // 2 + half, tl.sum(tl.where(counted[:, None], of_w2, 0.0), 0))


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

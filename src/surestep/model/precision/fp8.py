"""Frozen weights in 8-bit floats: matrix products at twice the rate of bf16, forward and backward.

Weights, inputs and incoming gradients are scaled row by row to the range of e4m3 (4 bits of exponent, 3 of mantissa;
Micikevicius et al., FP8 Formats for Deep Learning, 2022) and multiplied with sums in float32. The weights are kept
twice, since the backward product runs along their other side: as much memory as bf16. Only frozen weights: a trained
one would lose its small updates.

Shapes: `P` rows, `D` inputs, `N` outputs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

E4M3 = torch.float8_e4m3fn
LARGEST = 448.0
"""Largest finite number of e4m3."""

LONGEST_ROW = 32768
"""Numbers in a row that is scaled, at most."""


class Fp8Rows(NamedTuple):
    """Rows [P, D] in e4m3, their scales [P, 1], and the dtype of what is computed from them. Has no gradient."""

    small: Tensor
    scale: Tensor
    dtype: torch.dtype


def quantise_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """`x` as e4m3 and float32 [rows, 1], their product row by row being `x` to about 1 part in 30.

    >>> small, scale = quantise_rows(torch.tensor([[1.0, -2.0], [0.0, 0.0]]))
    >>> (small.float() * scale).tolist()
    [[1.0, -2.0], [0.0, 0.0]]
    """
    scale = x.abs().amax(dim=1, keepdim=True).float().clamp(min=1e-12) / LARGEST
    return (x.float() / scale).clamp(-LARGEST, LARGEST).to(E4M3), scale


def quantise(x: Tensor) -> tuple[Tensor, Tensor]:
    """As `quantise_rows`, where `x` lies."""
    if not x.is_cuda:
        return quantise_rows(x)
    from surestep.model.precision.fp8_row_kernel import quantise_rows_on_gpu

    return quantise_rows_on_gpu(x, E4M3, LARGEST)


def scaled_product(a: Tensor, a_scale: Tensor, b: Tensor, b_scale: Tensor, dtype: torch.dtype) -> Tensor:
    """a bᵀ of matrices scaled row by row; elsewhere than on a GPU computed in float32 from the same numbers."""
    if not a.is_cuda:
        return ((a.float() * a_scale) @ (b.float() * b_scale).t()).to(dtype)
    product: Tensor = torch._scaled_mm(
        a, b.t(), scale_a=a_scale, scale_b=b_scale.t(), out_dtype=dtype, use_fast_accum=True
    )
    return product


@torch.library.custom_op("surestep::fp8_linear", mutates_args=())
def fp8_linear(
    x: Tensor,
    w: Tensor,
    w_scale: Tensor,
    wt: Tensor,
    wt_scale: Tensor,
    bias: Tensor | None,
    low: Tensor | None,
    b: Tensor | None,
) -> Tensor:
    """[P, N] x Wᵀ + bias + low bᵀ of x [P, D] in bf16; `w` [N, D] and `wt` [D, N] are W and Wᵀ as `quantise_rows`
    gives them; `low` [P, R] and `b` [N, R] of adapters, both or none.

    An operation of its own, opaque to the compiler: an `autograd.Function` in its place failed to be traced in a
    backward pass (torch 2.11), and the scaled product is no arithmetic that could be fused anyway.
    """
    small, scale = quantise(x)
    y = scaled_product(small, scale, w, w_scale, x.dtype)
    if bias is not None:
        y += bias
    return y if low is None or b is None else y.addmm_(low, b.t())


@fp8_linear.register_fake
def _(x: Tensor, w: Tensor, *_: Tensor | None) -> Tensor:
    return x.new_empty((x.shape[0], w.shape[0]))


def _keep_weights(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:5], *inputs[6:])


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    w, w_scale, wt, wt_scale, low, b = ctx.saved_tensors
    gradient = gradient.contiguous()
    # The gradient of x Wᵀ is g W: the same product along the weight's other side.
    of_x = fp8_linear(gradient, wt, wt_scale, w, w_scale, None, None, None)
    of_low, of_b = (None, None) if low is None else (gradient @ b, gradient.t() @ low)
    return of_x, None, None, None, None, None, of_low, of_b


fp8_linear.register_autograd(_backward, setup_context=_keep_weights)


@torch.library.custom_op("surestep::fp8_rows", mutates_args=())
def fp8_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """`quantise`, as an operation that a compiler leaves alone. Has no gradient."""
    return quantise(x)


@fp8_rows.register_fake
def _(x: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x, dtype=E4M3), x.new_empty((x.shape[0], 1), dtype=torch.float32)


@torch.library.custom_op("surestep::fp8_product", mutates_args=())
def fp8_product(
    small: Tensor, scale: Tensor, w: Tensor, w_scale: Tensor, bias: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """[P, N] x Wᵀ + bias in `dtype` of x [P, D] and W [N, D], both as `quantise_rows` gives them. Has no gradient."""
    y = scaled_product(small, scale, w, w_scale, dtype)
    return y if bias is None else y.add_(bias)


@fp8_product.register_fake
def _(small: Tensor, scale: Tensor, w: Tensor, w_scale: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    return small.new_empty((small.shape[0], w.shape[0]), dtype=dtype)


class Fp8Weight:
    """A frozen weight [N, D] in e4m3, laid out for both products."""

    def __init__(self, weight_ND: Tensor) -> None:
        self.forward_ND, self.forward_scale = (_fixed(part) for part in quantise_rows(weight_ND))
        self.backward_DN, self.backward_scale = (_fixed(part) for part in quantise_rows(weight_ND.t().contiguous()))

    def __call__(
        self, x_PD: Tensor, bias_N: Tensor | None = None, low_PR: Tensor | None = None, b_NR: Tensor | None = None
    ) -> Tensor:
        """[P, N]: x Wᵀ + bias + low bᵀ in the dtype of `x`."""
        output: Tensor = fp8_linear(x_PD, *self.parts, bias_N, low_PR, b_NR)
        return output

    def of_rows(self, x: Fp8Rows, bias_N: Tensor | None = None) -> Tensor:
        """[P, N]: x Wᵀ + bias; has no gradient."""
        output: Tensor = fp8_product(x.small, x.scale, self.forward_ND, self.forward_scale, bias_N, x.dtype)
        return output

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The weight and its scales, then the same transposed."""
        return self.forward_ND, self.forward_scale, self.backward_DN, self.backward_scale


def _fixed(tensor: Tensor) -> torch.nn.Parameter:
    # A parameter, so that a compiler takes its sizes for fixed.
    return torch.nn.Parameter(tensor, requires_grad=False)


def runs_fp8(device: torch.device) -> bool:
    """Whether the device multiplies 8-bit floats scaled row by row (Hopper and later)."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)

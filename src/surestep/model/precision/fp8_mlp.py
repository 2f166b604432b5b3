"""A gated MLP with frozen weights in 8-bit floats, as one operation: less memory traffic between its products.

Gate and up are one product, of an input that is scaled to 8 bits once. silu(gate) · up goes to 8 bits as it is
computed, and so does its gradient, gate's and up's beside each other: half-precision numbers in between are never
written. Rounding as in `surestep.model.precision.fp8`, but that a row of the gradient has one scale for gate and up.

Shapes: `P` rows, `D` width of input and output, `F` of gate and of up.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from surestep.model.precision.fp8 import E4M3, LARGEST, Fp8Rows, Fp8Weight, quantise, quantise_rows, scaled_product


@torch.library.custom_op("surestep::fp8_mlp", mutates_args=())
def fp8_mlp(
    x: Tensor,
    w: Tensor,
    w_scale: Tensor,
    wt: Tensor,
    wt_scale: Tensor,
    v: Tensor,
    v_scale: Tensor,
    vt: Tensor,
    vt_scale: Tensor,
) -> tuple[Tensor, Tensor]:
    """(silu(gate) · up) Vᵀ [P, D] of x [P, D] in bf16; gate and up beside each other [P, 2 F], for the backward pass.

    `w` [2 F, D] and `wt` [D, 2 F] are gate's and up's weights as `Fp8Weight` holds them, `v` [D, F] and `vt` [F, D]
    those of down.
    """
    joined = scaled_product(*quantise(x), w, w_scale, x.dtype)
    return scaled_product(*quantise_gated(joined), v, v_scale, x.dtype), joined


@fp8_mlp.register_fake
def _(x: Tensor, w: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty((x.shape[0], w.shape[0]))


@torch.library.custom_op("surestep::fp8_mlp_backward", mutates_args=())
def fp8_mlp_backward(
    gradient: Tensor, joined: Tensor, wt: Tensor, wt_scale: Tensor, vt: Tensor, vt_scale: Tensor
) -> Tensor:
    """The gradient of x [P, D], where that of the output is `gradient` [P, D]."""
    of_product = scaled_product(*quantise(gradient), vt, vt_scale, gradient.dtype)
    return scaled_product(*quantise_gated_gradient(joined, of_product), wt, wt_scale, gradient.dtype)


@fp8_mlp_backward.register_fake
def _(gradient: Tensor, *_: Tensor) -> Tensor:
    return torch.empty_like(gradient)


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    # Nobody asks for the gradient of gate and up; zeros in its place would be as large as they are.
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[1], *inputs[3:5], *inputs[7:9])


def _backward(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    return fp8_mlp_backward(gradient.contiguous(), *ctx.saved_tensors), *[None] * 8


fp8_mlp.register_autograd(_backward, setup_context=_keep)


def quantise_gated(joined: Tensor) -> tuple[Tensor, Tensor]:
    """silu(gate) · up [P, F] of `joined` [P, 2 F], in 8 bits, and its scales [P, 1]."""
    if joined.is_cuda:
        from surestep.model.precision.fp8_row_kernel import quantise_gated_on_gpu

        return quantise_gated_on_gpu(joined, E4M3, LARGEST)
    gate, up = joined.float().chunk(2, dim=1)
    return quantise_rows(F.silu(gate) * up)


def quantise_gated_gradient(joined: Tensor, of_product: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient [P, 2 F] of `joined`, in 8 bits, and its scales [P, 1].

    `of_product` [P, F] is that of silu(gate) · up.
    """
    if joined.is_cuda:
        from surestep.model.precision.fp8_row_kernel import quantise_gated_gradient_on_gpu

        return quantise_gated_gradient_on_gpu(joined, of_product, E4M3, LARGEST)
    gate, up = joined.float().chunk(2, dim=1)
    share, of_product = gate.sigmoid(), of_product.float()
    of_gate = of_product * up * share * (1 + gate * (1 - share))
    return quantise_rows(torch.cat([of_gate, of_product * gate * share], dim=1))


@torch.library.custom_op("surestep::fp8_gated_rows", mutates_args=())
def fp8_gated_rows(joined: Tensor) -> tuple[Tensor, Tensor]:
    """`quantise_gated`, as an operation that a compiler leaves alone. Has no gradient."""
    return quantise_gated(joined)


@fp8_gated_rows.register_fake
def _(joined: Tensor) -> tuple[Tensor, Tensor]:
    rows, width = joined.shape
    small = joined.new_empty((rows, width // 2), dtype=E4M3)
    return small, joined.new_empty((rows, 1), dtype=torch.float32)


class Fp8Mlp:
    """Frozen gate, up [F, D] and down [D, F] in e4m3, laid out for products forward and backward."""

    def __init__(self, gate_FD: Tensor, up_FD: Tensor, down_DF: Tensor) -> None:
        self.gate_and_up = Fp8Weight(torch.cat([gate_FD, up_FD]))
        self.down = Fp8Weight(down_DF)

    def __call__(self, x_PD: Tensor) -> Tensor:
        """[P, D], in the dtype of `x`."""
        output_PD, _ = fp8_mlp(x_PD, *self.gate_and_up.parts, *self.down.parts)
        return output_PD  # type: ignore[no-any-return]

    def of_rows(self, x: Fp8Rows) -> Tensor:
        """[P, D]; has no gradient."""
        small, scale = fp8_gated_rows(self.gate_and_up.of_rows(x))
        return self.down.of_rows(Fp8Rows(small, scale, x.dtype))

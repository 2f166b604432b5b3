"""A family's gated MLP over rows of a pack.

Gate and up stay two products: joined, the backward pass of their product reads everything twice (measured in
docs/experiments). Where both are trained and nothing else, the gradients of their input are summed by the products.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surestep.model.attention.executions import product_dtype
from surestep.model.fast.projection import Projection
from surestep.model.precision.float32_weights import linear_pair_in_half
from surestep.model.precision.fp8 import Fp8Rows
from surestep.model.precision.fp8_mlp import Fp8Mlp


class FusedMLP:
    """Mixed in front of a family's gated MLP class."""

    surestep_gate: Projection
    surestep_up: Projection
    surestep_down: Projection
    surestep_fp8: Fp8Mlp | None = None

    @property
    def surestep_reads_fp8(self) -> bool:
        """Whether it takes its input in 8 bits, too."""
        return self.surestep_fp8 is not None

    def forward(self: Any, x: Tensor | Fp8Rows) -> Tensor:
        """As the family's own, over one row or several; of `Fp8Rows` over one."""
        if isinstance(x, Fp8Rows):
            return self.surestep_fp8.of_rows(x).unsqueeze(0)  # type: ignore[no-any-return]
        rows = x.flatten(0, -2)
        if self.surestep_fp8 is not None:
            return self.surestep_fp8(rows.to(product_dtype(rows))).view_as(x)  # type: ignore[no-any-return]
        gate, up = self._gate_and_up(rows)
        return self.surestep_down(self.act_fn(gate) * up, self.training).view_as(x)  # type: ignore[no-any-return]

    def _gate_and_up(self: Any, rows: Tensor) -> tuple[Tensor, Tensor]:
        if torch.is_grad_enabled():
            dtype = product_dtype(rows)
            gate_alone = self.surestep_gate.single_trained_weight(dtype)
            up_alone = self.surestep_up.single_trained_weight(dtype)
            if gate_alone is not None and up_alone is not None:
                halves, weights = zip(gate_alone, up_alone, strict=True)
                return linear_pair_in_half(rows.to(dtype), *halves, *weights)  # type: ignore[no-any-return]
        return self.surestep_gate(rows, self.training), self.surestep_up(rows, self.training)

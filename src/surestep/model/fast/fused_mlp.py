"""A family's gated MLP over rows of a pack.

Frozen gate and up are one product, whose two halves one kernel reads, forward and backward; with adapters beside all
three layers the whole MLP is one operation. Trained ones stay two, for their gradients lie apart; where nothing else is
trained, the gradients of their input are summed by the products.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surestep.model.attention.executions import product_dtype
from surestep.model.fast.adapters.adapted_mlp import adapted_mlp
from surestep.model.fast.gated_product import gated_product
from surestep.model.fast.projection import Projection
from surestep.model.precision.float32_weights import linear_pair_in_half
from surestep.model.precision.fp8 import Fp8Rows
from surestep.model.precision.fp8_mlp import Fp8Mlp


def is_adapted_mlp(gates: tuple[Projection, ...], down: Projection) -> bool:
    """Whether `adapted_mlp` computes it: gate and up in one product, and adapters beside all three layers."""
    return len(gates) == 1 and gates[0].is_adapted_alone and down.is_adapted_alone


class FusedMLP:
    """Mixed in front of a family's gated MLP class."""

    surestep_gates: tuple[Projection, ...]
    """Gate and up, as one or as two."""
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
        if is_adapted_mlp(self.surestep_gates, self.surestep_down):
            return self._adapted(rows).view_as(x)  # type: ignore[no-any-return]
        return self.surestep_down(self._gated(rows), self.training).view_as(x)  # type: ignore[no-any-return]

    def _adapted(self: Any, rows: Tensor) -> Tensor:
        """Both products with their adapters, and what lies between, as one operation."""
        parts = self.surestep_gates[0], self.surestep_down
        gates, down = (part.weights for part in parts)
        of_gates, of_down = (part.adapters.dropping(self.training) for part in parts)
        present = [adapter for part in parts for adapter in part.adapters.present]
        return adapted_mlp(  # type: ignore[no-any-return]
            rows.to(gates.weight_ND.dtype),
            *(gates.weight_ND, gates.copies.a_RD, gates.copies.scale_R),
            *(down.weight_ND, down.copies.a_RD, down.copies.scale_R),
            [adapter.a for adapter in present],
            [adapter.b for adapter in present],
            *(of_gates.seed, of_gates.salt, of_down.salt),
            [of_gates.probability, of_down.probability],
        )[0]

    def _gated(self: Any, rows: Tensor) -> Tensor:
        if len(self.surestep_gates) == 1:
            return gated_product(self.surestep_gates[0](rows, self.training))  # type: ignore[no-any-return]
        gate, up = self._gate_and_up(rows)
        return self.act_fn(gate) * up  # type: ignore[no-any-return]

    def _gate_and_up(self: Any, rows: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = self.surestep_gates
        if torch.is_grad_enabled():
            dtype = product_dtype(rows)
            gate_alone, up_alone = gate.single_trained_weight(dtype), up.single_trained_weight(dtype)
            if gate_alone is not None and up_alone is not None:
                halves, weights = zip(gate_alone, up_alone, strict=True)
                return linear_pair_in_half(rows.to(dtype), *halves, *weights)  # type: ignore[no-any-return]
        return gate(rows, self.training), up(rows, self.training)

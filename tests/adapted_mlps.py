"""Gated MLPs with frozen weights and adapters beside all three layers, as one operation and written out."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surestep.model.fast.adapters.adapted_mlp import adapted_mlp
from surestep.model.fast.adapters.adapters import Adapter, Adapters, CopiedAdapters
from surestep.model.fast.adapters.hashed_dropout import drop
from surestep.model.fast.projection import AdaptedWeights

GATES_SALT, DOWN_SALT = 4, 8


class AdaptedMlp(NamedTuple):
    """Weights of gate, up [F, D] and down [D, F], an adapter beside each, and both products' weights as held."""

    layers: list[nn.Linear]
    adapters: list[Adapter]
    gates: tuple[AdaptedWeights, Adapters]
    down: tuple[AdaptedWeights, Adapters]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All A, and all B behind them."""
        return [adapter.a for adapter in self.adapters] + [adapter.b for adapter in self.adapters]

    def written_out(self, x: Tensor) -> Tensor:
        """[P, D] of x [P, D], in its dtype, without rounding in between."""
        gates, down = self.gates[1], self.down[1]

        def layer(place: int, y: Tensor, dropped: Tensor) -> Tensor:
            own, adapter = self.layers[place], self.adapters[place]
            low = dropped @ adapter.a.to(y.dtype).t() @ adapter.b.to(y.dtype).t()
            return F.linear(y, own.weight.to(y.dtype)) + adapter.scale * low

        dropped = drop(x, gates.seed + GATES_SALT, gates.dropout) if gates.dropout else x
        gated = F.silu(layer(0, x, dropped)) * layer(1, x, dropped)
        return layer(2, gated, drop(gated, down.seed + DOWN_SALT, down.dropout) if down.dropout else gated)

    def arguments(self, x: Tensor) -> tuple[object, ...]:
        """Those of `adapted_mlp`, which has copies of the adapters as they are now."""
        weights = self.gates[0], self.down[0]
        CopiedAdapters([one.copies for one in weights]).bring_up_to_date()
        of_gates, of_down = (adapters.dropping(training=True) for _, adapters in (self.gates, self.down))
        held = (part for one in weights for part in (one.weight_ND, one.copies.a_RD, one.copies.scale_R))
        parameters = self.parameters
        seeds = of_gates.seed, of_gates.salt, of_down.salt
        return x, *held, parameters[:3], parameters[3:], *seeds, [of_gates.probability, of_down.probability]

    def __call__(self, x: Tensor) -> Tensor:
        """As one operation."""
        found: Tensor = adapted_mlp(*self.arguments(x))[0]  # type: ignore[arg-type]
        return found


def made_mlp(
    width: int, hidden: int, ranks: tuple[int, int, int], dropout: tuple[float, float], like: Tensor
) -> AdaptedMlp:
    """Random weights of the dtype and on the device of `like`; adapters are float32, or float64 where that is."""
    kind = {"dtype": like.dtype, "device": like.device}
    of_adapters = kind | {"dtype": torch.promote_types(like.dtype, torch.float32)}
    sizes = (width, hidden), (width, hidden), (hidden, width)
    layers = [nn.Linear(*size, bias=False, **kind).requires_grad_(False) for size in sizes]  # type: ignore[arg-type]
    adapters = [
        Adapter(
            nn.Parameter(torch.randn(rank, inputs, **of_adapters) / inputs**0.5),  # type: ignore[call-overload]
            nn.Parameter(torch.randn(outputs, rank, **of_adapters) / rank**0.5),  # type: ignore[call-overload]
            0.5 + place,
        )
        for place, (rank, (inputs, outputs)) in enumerate(zip(ranks, sizes, strict=True))
    ]
    seed = torch.tensor(77, dtype=torch.int32, device=like.device)
    gates = Adapters(adapters[:2], [hidden, hidden], dropout=dropout[0], seed=seed, salt=GATES_SALT)
    down = Adapters(adapters[2:], [width], dropout=dropout[1], seed=seed, salt=DOWN_SALT)
    return AdaptedMlp(
        layers,
        adapters,
        (AdaptedWeights(layers[:2], gates), gates),
        (AdaptedWeights(layers[2:], down, has_room=True), down),
    )

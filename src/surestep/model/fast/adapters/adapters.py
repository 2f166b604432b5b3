"""The adapters of a projection's layers, and copies of them as products read them.

PEFT holds each as two float32 parameters. Products read them rounded to half precision, those of all layers of a
projection beside each other: `AdapterCopies`, brought up to date before every pass, all adapters of a model in one
kernel. (An optimiser leaves no mark on weights that a pass could look for, and the copying takes microseconds.)

Shapes: `P` tokens of the pack, `D` width of the input, `N` outputs of all layers of a projection, `R` their ranks.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surestep.model.fast.adapters.hashed_dropout import Dropout

if TYPE_CHECKING:
    from surestep.model.fast.adapters.kernels import PieceTable


@dataclass(frozen=True)
class Adapter:
    """Low-rank weights of one layer: its output gains `scale` · B A x."""

    a: nn.Parameter
    b: nn.Parameter
    scale: float


class Adapters:
    """The adapters of a projection's layers: one product with all their A, and one dropout mask.

    Args:
        of_layers: of each layer, None where it has none; at least one has.
        sizes: outputs of each layer.
        dropout: of their input, in training.
        seed: int32 scalar of the whole model, drawn anew for every pass in training.
        salt: another one for every projection of a model: their dropout masks differ.
    """

    def __init__(
        self, of_layers: Sequence[Adapter | None], sizes: Sequence[int], *, dropout: float, seed: Tensor, salt: int
    ) -> None:
        self.of_layers = list(of_layers)
        self.sizes = list(sizes)
        self.dropout = dropout
        self.seed = seed
        self.salt = torch.tensor(salt, dtype=torch.int32, device=seed.device)

    @property
    def present(self) -> list[Adapter]:
        """Those that are there."""
        return [adapter for adapter in self.of_layers if adapter is not None]

    @property
    def outputs(self) -> list[int]:
        """Where the outputs of each adapter that is there begin."""
        starts = [sum(self.sizes[:place]) for place in range(len(self.sizes))]
        return [start for start, adapter in zip(starts, self.of_layers, strict=True) if adapter is not None]

    @property
    def ranks(self) -> int:
        """Of all of them together."""
        return sum(adapter.a.shape[0] for adapter in self.present)

    def of(self, place: int) -> Adapters | None:
        """Those of one layer; None where it has none. Their dropout mask is that of all."""
        if self.of_layers[place] is None:
            return None
        one = copy.copy(self)
        one.of_layers, one.sizes = [self.of_layers[place]], [self.sizes[place]]
        return one

    def dropping(self, training: bool) -> Dropout:
        """The dropout of their input."""
        return Dropout(self.seed, self.salt, self.dropout if training else 0.0)

    def low_rank_input(self, x_PD: Tensor, training: bool) -> Tensor:
        """[P, R]: x Aᵀ of all adapters; in training, their input is dropped out."""
        return F.linear(self.dropping(training)(x_PD), torch.cat([adapter.a for adapter in self.present]))

    def scaled_b(self) -> Tensor:
        """float32 [N, R]: the layers' B, scaled, each beside the ranks of its own A."""
        rows, before = [], 0
        for adapter, size in zip(self.of_layers, self.sizes, strict=True):
            if adapter is None:
                rows.append(self.seed.new_zeros((size, self.ranks), dtype=torch.float32))
                continue
            rank = adapter.a.shape[0]
            rows.append(F.pad(adapter.b * adapter.scale, (before, self.ranks - before - rank)))
            before += rank
        return torch.cat(rows)


class AdapterCopies:
    """Rounded copies of a projection's adapters.

    Attributes:
        a_RD: their scaled A below each other, with rows of zeros up to a multiple of 8.
        scale_R: float32, of each of these rows.
        b_NR: their B, each at its layer's outputs and its own ranks, zeros elsewhere: columns of `beside`.

    Args:
        beside: [N, more], zeros, whose first columns become `b_NR`.
    """

    def __init__(self, adapters: Adapters, beside: Tensor) -> None:
        self.adapters = adapters
        width = adapters.present[0].a.shape[1]
        # A parameter, so that a compiler takes its sizes for fixed.
        self.a_RD = nn.Parameter(beside.new_zeros((beside.shape[1], width)), requires_grad=False)
        self.b_NR = beside
        scales = [adapter.scale for adapter in adapters.present for _ in adapter.a]
        scales += [0.0] * (beside.shape[1] - len(scales))
        self.scale_R = nn.Parameter(torch.tensor(scales, dtype=torch.float32).to(beside.device), requires_grad=False)

    def pieces(self) -> list[tuple[Tensor, Tensor, float]]:
        """Places in the copies, the parameters that belong there and their factors."""
        found: list[tuple[Tensor, Tensor, float]] = []
        first = 0
        for adapter, start in zip(self.adapters.present, self.adapters.outputs, strict=True):
            rank, size = adapter.a.shape[0], adapter.b.shape[0]
            ranks = slice(first, first + rank)
            found += [
                (self.a_RD.data[ranks], adapter.a, adapter.scale),
                (self.b_NR.data[start : start + size, ranks], adapter.b, 1.0),
            ]
            first += rank
        return found


def padded_ranks(ranks: int) -> int:
    """Columns that lie behind a weight's own, so that rows begin where products read fast."""
    return -(-ranks // 8) * 8


class CopiedAdapters:
    """The adapters of a model and their rounded copies.

    Attributes:
        copies: of its projections.
    """

    def __init__(self, copies: Sequence[AdapterCopies]) -> None:
        self.copies = list(copies)
        self._pieces = [piece for one in copies for piece in one.pieces()]
        self._parameters = [parameter for _, parameter, _ in self._pieces]
        self._places: list[int] | None = None
        self._table: PieceTable | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy of a model looks for its own: places in memory mean nothing there.
        return CopiedAdapters, ([],)

    def bring_up_to_date(self) -> None:
        """Round the adapters into their copies; before every pass that reads them.

        Past torch's count of changes: a pass whose gradient is still to come reads the same numbers there.
        """
        places = [parameter.data_ptr() for parameter in self._parameters]
        if not places:
            return
        if places != self._places:
            self._places, self._table = places, self._made_table()
        if self._table is not None:
            self._table.copy()
            return
        for place, parameter, factor in self._pieces:
            place.copy_(parameter.detach() * factor)

    def _made_table(self) -> PieceTable | None:
        """For one kernel for all of them; None where that does not suit them."""
        rounded = {place.dtype for place, _, _ in self._pieces}
        suits = len(rounded) == 1 and all(
            place.is_cuda and parameter.is_contiguous() and parameter.dtype == torch.float32 != place.dtype
            for place, parameter, _ in self._pieces
        )
        if not suits:
            return None
        from surestep.model.fast.adapters.kernels import PieceTable

        return PieceTable(self._pieces)

"""What the head reads: the last layer or a learned mix of all, at `<CONFIDENCE>` alone or with a mean beside it.

Shapes: `T` tokens, `S` needed steps, `K` tokens of all needed steps, `D` hidden size, `L` hidden states: what goes into
the first layer and what comes out of each.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from surestep.config.model import HeadLayers, HeadPooling
from surestep.counted import counted
from surestep.errors import BackboneError

_SMALLEST = 1e-6
"""Added to the mean square before its root is divided by."""


class HeadInput(nn.Module):
    """Picks and mixes hidden states; without a weight of its own where it reads only the last layer.

    Args:
        layers: `last`, or `mix`: the scalar mix of Peters et al. (2018), gamma · sum of softmax(w)_l · h_l over all
            layers. As layers differ in scale by orders of magnitude, each h_l is divided by the root of its mean
            square (they normalise layers too, section 3.2). It starts as the plain mean: w = 0, gamma = 1.
        pooling: `confidence` reads the token `<CONFIDENCE>`; `mean` puts the mean over the step's tokens beside it,
            that token among them.
        num_states: `L`; needed for `mix`.
    """

    def __init__(
        self, layers: HeadLayers = "last", pooling: HeadPooling = "confidence", *, num_states: int = 0
    ) -> None:
        super().__init__()
        self.layers = layers
        self.pooling = pooling
        if layers == "mix":
            self.weights = nn.Parameter(torch.zeros(num_states))
            self.gamma = nn.Parameter(torch.ones(1))

    @property
    def reads_layers(self) -> bool:
        """Whether all layers are read, not the last alone."""
        return self.layers == "mix"

    @property
    def is_plain(self) -> bool:
        """Whether it is the last layer's hidden state at `<CONFIDENCE>`, as it is."""
        return not self.reads_layers and self.pooling == "confidence"

    @property
    def times(self) -> int:
        """Width of what it gives, in hidden sizes."""
        return 1 if self.pooling == "confidence" else 2

    def described(self) -> str:
        """The fields that make it other than plain, for messages."""
        fields = {"model.head_layers": self.layers, "model.head_pooling": self.pooling}
        return ", ".join(f"{name} {value}" for name, value in fields.items() if value not in ("last", "confidence"))

    def forward(self, states: Sequence[Tensor], last_S: Tensor, length_S: Tensor | None) -> Tensor:
        """[S, D], or with the mean beside it [S, 2 D].

        Args:
            states: [T, D] each: those of all layers for `mix`, else the last one's alone.
            last_S: int64, where the `<CONFIDENCE>` token of each step stands.
            length_S: int64, how many tokens each step has, that one included, and all of them right before it; needed
                for `mean`.

        Raises:
            BackboneError: the backbone gives the states of another number of layers than the mix has weights.
        """
        if self.pooling == "confidence":
            return self._picked(states, last_S)
        assert length_S is not None, "who pools knows the lengths of steps"
        step_K = torch.repeat_interleave(torch.arange(len(last_S), device=last_S.device), length_S)
        before_K = torch.cumsum(length_S, 0)[step_K] - torch.arange(1, len(step_K) + 1, device=last_S.device)
        rows = self._picked(states, torch.cat([last_S, last_S[step_K] - before_K])).float()
        at_end, tokens_KD = rows[: len(last_S)], rows[len(last_S) :]
        mean = torch.zeros_like(at_end).index_add(0, step_K, tokens_KD) / length_S[:, None]
        return torch.cat([at_end, mean], dim=1)

    def _picked(self, states: Sequence[Tensor], rows: Tensor) -> Tensor:
        if not self.reads_layers:
            return states[-1].index_select(0, rows)
        if len(states) != len(self.weights):
            raise BackboneError(
                f"this backbone gives the hidden states of {counted(len(states), 'layer')}, not "
                f"{len(self.weights)}, so they cannot be mixed; use --head_layers last"
            )
        mixed: Tensor = sum(
            weight * _normed(state.index_select(0, rows))
            for weight, state in zip(torch.softmax(self.weights.float(), 0), states, strict=True)
        )
        return self.gamma.float() * mixed


def _normed(state: Tensor) -> Tensor:
    """[.., D] divided by the root of the mean square of each row, in float32."""
    state = state.float()
    return state * torch.rsqrt(state.square().mean(-1, keepdim=True) + _SMALLEST)

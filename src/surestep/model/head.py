"""The head that turns a hidden state into the logit of a confidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from surestep.config.model import Activation
from surestep.model.head_input import HeadInput


class ConfidenceHead(nn.Module):
    """A multi-layer perceptron with dropout, always in float32.

    Args:
        hidden_size: `D`, width of the backbone's hidden states.
        hidden_dims: widths of the hidden layers; empty for a linear head.
        dropout: applied after each hidden layer.
        activation: of each hidden layer.
        initial_confidence: what the untrained head predicts on average, in (0, 1).
        input: picks what is read of the hidden states; unset: the last layer at `<CONFIDENCE>`. `forward` takes what it
            gives.
    """

    def __init__(
        self,
        hidden_size: int,
        hidden_dims: Sequence[int],
        *,
        dropout: float,
        activation: Activation = "gelu",
        initial_confidence: float = 0.5,
        input: HeadInput | None = None,
    ) -> None:
        super().__init__()
        self.input = input or HeadInput()
        widths = [hidden_size * self.input.times, *hidden_dims]
        between = nn.ReLU if activation == "relu" else nn.GELU
        layers: list[nn.Module] = []
        for width, next_width in pairwise(widths):
            layers += [nn.Linear(width, next_width), between(), nn.Dropout(dropout)]
        self.hidden = nn.Sequential(*layers)
        self.output = nn.Linear(widths[-1], 1)
        # Small last weights: training starts at the mean label rather than at a random opinion.
        nn.init.normal_(self.output.weight, std=0.02)
        clipped = min(max(initial_confidence, 1e-3), 1 - 1e-3)
        nn.init.constant_(self.output.bias, math.log(clipped / (1 - clipped)))

    def forward(self, hidden_SD: Tensor) -> Tensor:
        """[S, D] hidden states to [S] logits; the confidence is their sigmoid."""
        with torch.autocast(hidden_SD.device.type, enabled=False):
            logits: Tensor = self.output(self.hidden(hidden_SD.float())).squeeze(-1)
            return logits

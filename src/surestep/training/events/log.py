"""What happened since the last log line, and how much of it belongs to training itself.

An interval may be cut in two by a checkpoint and a resume, so it goes to disk and back without losing a digit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class Interval:
    """Sums since the last log line; losses stay on the device until they are read together.

    Attributes:
        losses: loss of each step, scalars.
        tokens: tokens through the backbone, on this process.
        labels: labels of each dataset, on this process.
        seconds: spent in training up to the last `pause`.
    """

    losses: list[Tensor] = field(default_factory=list)
    tokens: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    _started: float | None = None

    def add(self, loss: Tensor, *, tokens: int, labels: Mapping[str, int]) -> None:
        """Count one optimiser step."""
        self.losses.append(loss)
        self.tokens += tokens
        for name, count in labels.items():
            self.labels[name] = self.labels.get(name, 0) + count

    def go_on(self) -> None:
        """The clock runs: what follows is training."""
        if self._started is None:
            self._started = time.perf_counter()

    def pause(self) -> None:
        """The clock stops: what follows is validation or saving."""
        if self._started is not None:
            self.seconds += time.perf_counter() - self._started
            self._started = None

    def to_dict(self, losses: list[float]) -> dict[str, Any]:
        """JSON-ready, with `losses` (summed over all processes) in place of this process's own.

        A float32 survives as a JSON number to the bit.
        """
        return {"losses": losses, "tokens": self.tokens, "labels": self.labels, "seconds": self.seconds}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, device: torch.device, is_main: bool) -> Interval:
        """The interval that a checkpoint cut short; its sums go to the main process, zeros to the others."""
        if not values:
            return cls()
        losses = [torch.tensor(loss if is_main else 0.0, device=device) for loss in values["losses"]]
        return cls(losses, values["tokens"], dict(values["labels"]), values["seconds"])

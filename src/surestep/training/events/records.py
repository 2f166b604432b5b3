"""What events are told: a step, a logging interval, a validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from surestep.training.step_data import StepPacks


@dataclass(frozen=True)
class StepDone:
    """One optimiser step of this process, just done.

    Attributes:
        step: optimiser steps done, this one included.
        loss: weighted sum over this process's labels; a scalar that stays on the device.
        grad_norm: before clipping, over all processes.
        learning_rate: of the optimiser's first group.
        packs: what went through the model.
        seconds: from asking for its examples to its end; `waited` of them for the examples.
    """

    step: int
    loss: Tensor
    grad_norm: Tensor
    learning_rate: float
    packs: StepPacks
    seconds: float = 0.0
    waited: float = 0.0

    @property
    def labels(self) -> Mapping[str, int]:
        """Labels of each dataset in the step, on this process."""
        return self.packs.labels


@dataclass(frozen=True)
class StepRecord:
    """One logging interval, ending after optimiser step `step`.

    Attributes:
        loss: mean loss over the interval's steps, in nats for `bce`.
        learning_rate: of the interval's last step.
        grad_norm: before clipping, of the last step.
        tokens_per_s: tokens through the backbone a second, shared prefixes counted once.
        labels_per_s: labelled steps a second.
        memory_gb: peak GPU memory, or resident memory on a CPU; 1e9 bytes.
        labels: labels of each dataset in the interval.
    """

    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens_per_s: float
    labels_per_s: float
    memory_gb: float
    labels: dict[str, int]


@dataclass(frozen=True)
class ValidationRecord:
    """One validation: mean over datasets of each figure, and the figures of each dataset."""

    step: int
    metric: str
    value: float
    mean: dict[str, float | None]
    per_dataset: dict[str, dict[str, Any]]
    is_best: bool

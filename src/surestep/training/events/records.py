"""What events are told: a step, a logging interval, a validation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from surestep.training.optimizer.parameter_groups import Role
    from surestep.training.step_data import StepPacks


@dataclass(frozen=True)
class StepDone:
    """One optimiser step, just done.

    Attributes:
        step: optimiser steps done, this one included.
        loss: weighted sum over this process's labels; a scalar that stays on the device.
        grad_norm: before clipping, over all processes.
        learning_rates: of the backbone (its adapters under LoRA) and of the head, at steps that are logged.
        packs: what went through the model on this process.
        num_tokens, labels: those of the step, over all processes; labels by dataset.
        seconds: from asking for its examples to its end; `waited` of them for the examples.
    """

    step: int
    loss: Tensor
    grad_norm: Tensor
    learning_rates: Mapping[Role, float]
    packs: StepPacks
    num_tokens: int
    labels: Mapping[str, int]
    seconds: float = 0.0
    waited: float = 0.0


@dataclass(frozen=True)
class StepRecord:
    """One logging interval, ending after optimiser step `step`.

    Attributes:
        loss: mean over the interval's steps of what is minimised, a weighted sum over a step's labels; it is larger
            where a step happens to have more labels.
        learning_rate: of the interval's last step: the backbone's, or the head's where nothing else is trained.
        grad_norm: before clipping, of the last step.
        tokens_per_s: tokens through the backbone a second, shared prefixes counted once.
        labels_per_s: labelled steps a second.
        memory_gb: peak GPU memory, or resident memory on a CPU; 1e9 bytes.
        labels: labels of each dataset in the interval.
        loss_per_label: mean over the interval's labels, by their weights: nats for `bce`, squared error for `mse`. None
            where the interval began in a checkpoint that does not know the weights.
        learning_rates: of each group by what it trains, `backbone` (its adapters under LoRA) and `head` (with the
            `<CONFIDENCE>` row); also of its lower layers, where each has a rate of its own (`parameter_groups.Role`).
    """

    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens_per_s: float
    labels_per_s: float
    memory_gb: float
    labels: dict[str, int]
    loss_per_label: float | None = None
    learning_rates: dict[Role, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ValidationRecord:
    """One validation: mean over datasets of each figure, and the figures of each dataset.

    Attributes:
        metric, value: what decides which checkpoint is the best.
        constant_nll: NLL of a constant, each dataset's mean training label, on the same labels, as mean over datasets;
            None where the training labels are not known.
    """

    step: int
    metric: str
    value: float
    mean: dict[str, float | None]
    per_dataset: dict[str, dict[str, Any]]
    is_best: bool
    constant_nll: float | None = None

    @property
    def is_worse_than_constant(self) -> bool:
        """Whether the model predicts these labels less well than a constant does."""
        nll = self.mean.get("nll")
        return nll is not None and self.constant_nll is not None and nll > self.constant_nll

    def is_beyond(self, bound: float) -> bool:
        """Whether the NLL is above `bound` times the constant's, and above `bound` times a coin's.

        The coin (ln 2) is there for labels that are nearly all of one kind, whose constant has an NLL near 0.
        """
        nll = self.mean.get("nll")
        if nll is None or self.constant_nll is None:
            return False
        return not nll <= bound * max(self.constant_nll, math.log(2))

"""What follows from the step alone, so that resuming needs no state of it: the learning rate, and when a run logs,
validates and saves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from surestep.config import TrainingConfig


def learning_rate_factor(step: int, config: TrainingConfig) -> float:
    """Share of the peak learning rate at optimiser step `step` (from 0), in [0, 1].

    Linear warmup, then a half cosine (Loshchilov and Hutter, 2017), a straight line to 0, or a constant.

    >>> config = TrainingConfig(max_steps=100, warmup_steps=10)
    >>> [round(learning_rate_factor(s, config), 3) for s in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    warmup = config.num_warmup_steps
    if step < warmup:
        return (step + 1) / warmup
    if config.lr_scheduler_type == "constant":
        return 1.0
    progress = min((step - warmup) / max(config.max_steps - warmup, 1), 1.0)
    if config.lr_scheduler_type == "linear":
        return 1.0 - progress
    return 0.5 * (1.0 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Rhythm:
    """At which optimiser steps (counted from 1) a run logs, validates and saves; each one also at the last step.

    Every regular checkpoint is validated.
    """

    max_steps: int
    logging_steps: int
    eval_steps: int
    save_steps: int

    @classmethod
    def of(cls, config: TrainingConfig) -> Rhythm:
        """As the configuration says."""
        return cls(config.max_steps, config.logging_steps, config.eval_steps, config.save_steps)

    def is_logging(self, step: int) -> bool:
        """Whether a log line ends with this step."""
        return step % self.logging_steps == 0 or step == self.max_steps

    def is_validating(self, step: int) -> bool:
        """Whether this step is validated."""
        return step % self.eval_steps == 0 or self.is_saving(step)

    @property
    def is_validated_once(self) -> bool:
        """Whether the run's last step is the only one that is validated."""
        return min(self.eval_steps, self.save_steps) >= self.max_steps

    def is_saving(self, step: int) -> bool:
        """Whether a checkpoint is due."""
        return step % self.save_steps == 0 or step == self.max_steps

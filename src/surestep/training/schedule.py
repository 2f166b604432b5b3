"""What follows from the step alone, so that resuming needs no state of it: the learning rate, and when a run logs,
validates and saves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import torch

from surestep.config import TrainingConfig
from surestep.config.training import OWN_SHAPES
from surestep.errors import ConfigError


def learning_rate_factor(step: int, config: TrainingConfig) -> float:
    """Share of the peak learning rate at optimiser step `step` (from 0), in [0, 1].

    Linear warmup, then a half cosine (Loshchilov and Hutter, 2017), a straight line to 0, a constant, or one of
    transformers' shapes.

    Raises:
        ConfigError: `lr_scheduler_kwargs` does not suit the shape.

    >>> config = TrainingConfig(max_steps=100, warmup_steps=10)
    >>> [round(learning_rate_factor(s, config), 3) for s in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    warmup = config.num_warmup_steps
    if step < warmup:
        return (step + 1) / warmup
    if config.lr_scheduler_type == "constant":
        return 1.0
    if config.lr_scheduler_type not in OWN_SHAPES:
        values = tuple(sorted((config.lr_scheduler_kwargs or {}).items()))
        return float(shape_of_transformers(config.lr_scheduler_type, warmup, config.max_steps, values)(step))
    progress = min((step - warmup) / max(config.max_steps - warmup, 1), 1.0)
    if config.lr_scheduler_type == "linear":
        return 1.0 - progress
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def check_schedule(config: TrainingConfig) -> None:
    """Raise where the shape of the learning rate cannot be made, before anything is written.

    Raises:
        ConfigError: see `learning_rate_factor`.
    """
    if config.num_warmup_steps < config.max_steps:
        learning_rate_factor(config.num_warmup_steps, config)


@cache
def shape_of_transformers(
    name: str, warmup: int, max_steps: int, values: tuple[tuple[str, float | int | str], ...]
) -> Callable[[int], float]:
    """One of transformers' learning rates as a function of the step alone, so that it needs no state to resume.

    Raises:
        ConfigError: it does not take one of `values`, or cannot be made with them.
    """
    from transformers.optimization import get_scheduler

    named: dict[str, Any] = dict(values)
    if name == "wsd":
        decay = max(1, max_steps // 10)
        name, named = "warmup_stable_decay", {"num_decay_steps": decay, **named}
    # The rate of this optimiser is 1, so that what comes out is a share, also where a shape has an end of its own.
    nothing = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    try:
        made = get_scheduler(
            name, nothing, num_warmup_steps=warmup, num_training_steps=max_steps, scheduler_specific_kwargs=named
        )
        (shape,) = made.lr_lambdas
        for step in (warmup, max_steps - 1):
            shape(step)
    except (TypeError, ValueError, ArithmeticError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"training.lr_scheduler_kwargs is {dict(values)}, which transformers' {name} does not take ({reason}); "
            "change them, or leave them out"
        ) from None
    return cast(Callable[[int], float], shape)


@dataclass(frozen=True)
class Rhythm:
    """At which optimiser steps (counted from 1) a run logs, validates and saves; each one also at the last step,
    and at the last one of each phase, so that no interval belongs to two.

    Every regular checkpoint is validated.
    """

    max_steps: int
    logging_steps: int
    eval_steps: int
    save_steps: int
    phase_ends: frozenset[int] = frozenset()

    @classmethod
    def of(cls, config: TrainingConfig, phase_ends: Collection[int] = ()) -> Rhythm:
        """As the configuration says."""
        return cls(config.max_steps, config.logging_steps, config.eval_steps, config.save_steps, frozenset(phase_ends))

    def _is_end(self, step: int) -> bool:
        return step == self.max_steps or step in self.phase_ends

    def is_logging(self, step: int) -> bool:
        """Whether a log line ends with this step."""
        return step % self.logging_steps == 0 or self._is_end(step)

    def is_validating(self, step: int) -> bool:
        """Whether this step is validated."""
        return step % self.eval_steps == 0 or self.is_saving(step)

    @property
    def is_validated_once(self) -> bool:
        """Whether the run's last step is the only one that is validated."""
        return min(self.eval_steps, self.save_steps, *self.phase_ends, self.max_steps) >= self.max_steps

    def is_saving(self, step: int) -> bool:
        """Whether a checkpoint is due."""
        return step % self.save_steps == 0 or self._is_end(step)

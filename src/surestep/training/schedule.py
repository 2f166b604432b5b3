"""The learning rate as a function of the step, and nothing else: resuming needs no state of it."""

from __future__ import annotations

import math

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

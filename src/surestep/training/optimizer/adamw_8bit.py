"""AdamW whose moments take 8 bits: bitsandbytes' block-wise one, with the groups that `build_optimizer` makes.

A group's `optim_bits` says whether its large tensors are held in 8 bits (Dettmers et al., 8-bit Optimizers via
Block-wise Quantization, 2022); bitsandbytes itself keeps tensors below 4,096 numbers in 32.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from surestep.errors import ConfigError
from surestep.model.precision.bitsandbytes_available import bitsandbytes_problem, load_bitsandbytes

SMALLEST = 4096
"""Numbers in a tensor from which its moments are held in 8 bits."""

BLOCK = 256
"""Numbers that share a scale, as bitsandbytes has it."""


def check_8bit_optimizer() -> None:
    """Raise unless bitsandbytes can be used here.

    Raises:
        ConfigError: it cannot; the message says what to do.
    """
    problem = bitsandbytes_problem()
    if problem is not None:
        raise ConfigError(f"training.optimizer is adamw_8bit, but {problem}; or use --optimizer adamw")


def adamw_8bit(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """The optimiser over `groups`, each with its `optim_bits`, 8 or 32.

    Raises:
        ConfigError: bitsandbytes cannot be used here.
    """
    check_8bit_optimizer()
    optimizer: torch.optim.Optimizer = _by_group()(groups, min_8bit_size=SMALLEST)
    return optimizer


def is_8bit(optimizer: torch.optim.Optimizer) -> bool:
    """Whether `adamw_8bit` made it."""
    return "optim_bits" in optimizer.param_groups[0]


@cache
def _by_group() -> Any:
    """bitsandbytes' class, the bits read from each group.

    Its own way to except a parameter is a table of the whole process that knows parameters by `id`, which Python gives
    to another object once the first is gone: a second run in the same process would inherit the first one's exceptions.
    """

    class AdamW8bit(load_bitsandbytes().optim.AdamW8bit):  # type: ignore[misc]
        def get_config(self, gindex: int, pindex: int, group: dict[str, Any]) -> dict[str, Any]:
            config: dict[str, Any] = super().get_config(gindex, pindex, group)
            config["optim_bits"] = group["optim_bits"]
            return config

    return AdamW8bit

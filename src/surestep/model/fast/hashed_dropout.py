"""Dropout whose mask is a function of a seed and the place in the tensor: nothing is stored for the backward pass.

A mask drawn from the device's generator is written to memory, kept until the backward pass and read again, and the
generator gives one number where it could give four. A hash of the place is computed where it is used, in the same
fused kernel as the arithmetic around it, and again in the backward pass.

The hash is the 32-bit finaliser "lowbias32" (Wellons, Prospecting for Hash Functions, 2018), seeded between its two
multiplications, so that two seeds do not give shifted copies of one sequence.
"""

from __future__ import annotations

import torch
from torch import Tensor

_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B - 2**32
_GOLDEN = 0x9E3779B9 - 2**32


def keep_mask(seed: Tensor, rows: int, columns: int, probability: float) -> Tensor:
    """bool [rows, columns]: which entries are kept, each with `probability`, independently.

    `seed` is an int32 scalar on the device of the mask.
    """
    row = torch.arange(rows, dtype=torch.int32, device=seed.device)
    column = torch.arange(columns, dtype=torch.int32, device=seed.device)
    mixed = row[:, None] * columns + column[None, :]
    # Shifts of signed numbers repeat the sign: it is cut off each time.
    mixed = (mixed ^ ((mixed >> 16) & 0xFFFF)) * _FIRST
    mixed = mixed ^ (seed * _GOLDEN)
    mixed = (mixed ^ ((mixed >> 15) & 0x1FFFF)) * _SECOND
    mixed = mixed ^ ((mixed >> 16) & 0xFFFF)
    return (mixed & 0x7FFFFFFF) < int(probability * 2**31)


def drop(x_PD: Tensor, seed: Tensor, probability: float) -> Tensor:
    """`x_PD` with each entry dropped with `probability` and the rest scaled up, so that the mean stays."""
    kept = keep_mask(seed, x_PD.shape[0], x_PD.shape[1], 1.0 - probability)
    return torch.where(kept, x_PD * (1.0 / (1.0 - probability)), 0.0)

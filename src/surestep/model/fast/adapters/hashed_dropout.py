"""Dropout whose mask is a function of a seed and the place in the tensor: nothing is stored for the backward pass.

A mask drawn from the device's generator is written to memory, kept until the backward pass and read again, and the
generator gives one number where it could give four. A hash of the place is computed where it is used, in the same
fused kernel as the arithmetic around it, and again in the backward pass.

Rows and columns are hashed each for itself, by the 32-bit finaliser "lowbias32" (Wellons, Prospecting for Hash
Functions, 2018). For a place, the hashes of its row and of its column are multiplied, and both halves of the product
folded into one: four operations, where a whole hash of every place takes as long as reading and writing it. (A cheaper
folding, of their sum, leaves pairs of rows whose masks agree far too often: tests/model/test_hashed_dropout.py looks
for such.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

FIRST, SECOND, GOLDEN = 0x7FEB352D, 0x846CA68B, 0x9E3779B9
BLOCK = 2**20
"""Entries whose hashes are held at a time, 16 bytes each: enough to keep a GPU busy, and within its cache."""


def keep_mask(seed: Tensor, rows: int, columns: int, probability: float) -> Tensor:
    """bool [rows, columns]: which entries are kept, each with `probability`, independently.

    `seed` is an int32 scalar on the device of the mask.
    """
    mask = torch.empty((rows, columns), dtype=torch.bool, device=seed.device)
    for block, kept in _blocks(seed, rows, columns, probability):
        mask[block] = kept
    return mask


def _blocks(seed: Tensor, rows: int, columns: int, probability: float) -> Iterator[tuple[slice, Tensor]]:
    """The mask a block of rows at a time, and where each lies: a product has eight bytes, and is needed twice."""
    of_rows = _hashed(seed * (GOLDEN - 2**32) + 1)
    of_columns = _hashed(of_rows)
    row = _hashed(2 * torch.arange(rows, dtype=torch.int32, device=seed.device) + of_rows)
    column = _hashed(2 * torch.arange(columns, dtype=torch.int32, device=seed.device) + 1 + of_columns)
    column_1D = (column.long() & 0xFFFFFFFF)[None, :]
    size = max(1, BLOCK // max(columns, 1))
    for first in range(0, rows, size):
        block = slice(first, min(first + size, rows))
        product = (row[block].long() & 0xFFFFFFFF)[:, None] * column_1D
        folded = product.bitwise_xor_(product >> 32)
        yield block, folded.bitwise_right_shift_(1).bitwise_and_(0x7FFFFFFF) < _threshold(probability)


def _hashed(number: Tensor) -> Tensor:
    """int32 of the same shape. Shifts of signed numbers repeat the sign: it is cut off each time."""
    mixed = (number ^ ((number >> 16) & 0xFFFF)) * FIRST
    mixed = (mixed ^ ((mixed >> 15) & 0x1FFFF)) * (SECOND - 2**32)
    return mixed ^ ((mixed >> 16) & 0xFFFF)


def _threshold(probability: float) -> int:
    """The 31 bits of a hash that are below it are as many as `probability` of all."""
    return min(int(probability * 2**31), 2**31 - 1)


def drop(x_PD: Tensor, seed: Tensor, probability: float) -> Tensor:
    """`x_PD` with each entry dropped with `probability` and the rest scaled up, so that the mean stays."""
    dropped, factor = torch.empty_like(x_PD), 1.0 / (1.0 - probability)
    for block, kept in _blocks(seed, x_PD.shape[0], x_PD.shape[1], 1.0 - probability):
        dropped[block] = torch.where(kept, x_PD[block] * factor, 0.0)
    return dropped


class Dropout(NamedTuple):
    """The dropout of one input in one pass.

    Attributes:
        seed: int32 scalar of the pass.
        salt: int32 scalar, another one for every input.
        probability: of being dropped; at 0 nothing is done.
    """

    seed: Tensor
    salt: Tensor
    probability: float

    @property
    def is_on(self) -> bool:
        """Whether anything is dropped."""
        return self.probability > 0

    @property
    def threshold_and_factor(self) -> tuple[int, float]:
        """What hashes of kept entries are below, and what these are multiplied by."""
        return _threshold(1.0 - self.probability), 1.0 / (1.0 - self.probability)

    def __call__(self, x_PD: Tensor) -> Tensor:
        """`x_PD`, dropped out."""
        return drop(x_PD, self.seed + self.salt, self.probability) if self.is_on else x_PD

"""Dropout whose mask is a hash of the place: independent coins, the same for the same seed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from surestep.model.fast.adapters import hashed_dropout
from surestep.model.fast.adapters.hashed_dropout import drop, keep_mask


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_the_mask_is_a_fair_coin_everywhere(probability: float) -> None:
    seed = torch.tensor(12345, dtype=torch.int32)
    mask = keep_mask(seed, 400, 512, probability).float()
    spread = (probability * (1 - probability)) ** 0.5
    assert abs(mask.mean() - probability) < 5 * spread / mask.numel() ** 0.5
    # Rows, columns and neighbours: no stripes. Largest of 400 (512) means: within 5 standard errors.
    assert (mask.mean(1) - probability).abs().max() < 5 * spread / 512**0.5
    assert (mask.mean(0) - probability).abs().max() < 5 * spread / 400**0.5
    centred = mask - mask.mean()
    other = keep_mask(seed + 1, 400, 512, probability).float() - probability
    for shifted in (centred.roll(1, 0), centred.roll(1, 1), centred.roll(512 // 2, 1), other, other.roll(1, 1)):
        correlation = (centred * shifted).mean() / spread**2
        assert abs(correlation) < 5 / mask.numel() ** 0.5


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_no_two_rows_and_no_two_columns_of_the_mask_are_of_one_kind(probability: float) -> None:
    """Agreement of all pairs spreads as that of independent coins does, without outliers; so in rectangles."""
    for seed in (7, 12345, -2_000_000_000):
        mask = keep_mask(torch.tensor(seed, dtype=torch.int32), 700, 512, probability).double()
        standard = (mask - probability) / (probability * (1 - probability)) ** 0.5
        for one in (standard, standard.t()):
            count, length = one.shape
            agreement = (one @ one.t() / length**0.5)[torch.triu(torch.ones(count, count, dtype=torch.bool), 1)]
            assert agreement.std().item() == pytest.approx(1, abs=0.015)
            assert agreement.abs().max() < 7.5, "a shared pattern stands out by tens"
        rows, columns = torch.randint(0, 700, (2, 10**5)), torch.randint(0, 512, (2, 10**5))
        apart = (rows[0] != rows[1]) & (columns[0] != columns[1])
        corners = torch.stack([standard[row, column] for row in rows for column in columns]).prod(0)[apart]
        assert abs(corners.mean()) < 5 / len(corners) ** 0.5 * corners.std()


@pytest.mark.parametrize("seed", [0, 1, -1, 2**31 - 1, -(2**31)])
def test_the_mask_is_what_unsigned_numbers_of_32_bits_give(seed: int) -> None:
    def hashed(number: int) -> int:
        number &= 0xFFFFFFFF
        number = (number ^ number >> 16) * 0x7FEB352D & 0xFFFFFFFF
        number = (number ^ number >> 15) * 0x846CA68B & 0xFFFFFFFF
        return number ^ number >> 16

    of_rows = hashed((seed * 0x9E3779B9 & 0xFFFFFFFF) + 1)
    of_columns = hashed(of_rows)
    found = keep_mask(torch.tensor(seed, dtype=torch.int32), 30, 20, 0.7)
    for row in range(30):
        for column in range(20):
            product = hashed(2 * row + of_rows) * hashed(2 * column + 1 + of_columns)
            folded = (product & 0xFFFFFFFF) ^ (product >> 32)
            assert found[row, column] == ((folded >> 1) < int(0.7 * 2**31))


def test_dropout_keeps_the_mean() -> None:
    x = torch.ones(500, 100)
    dropped = drop(x, torch.tensor(7, dtype=torch.int32), 0.25)
    torch.testing.assert_close(dropped.unique(), torch.tensor([0.0, 4 / 3]))
    assert dropped.mean() == pytest.approx(1.0, abs=0.02)


def whole_mask(seed: Tensor, rows: int, columns: int, probability: float) -> Tensor:
    """The mask by one formula over all entries at once."""
    of_rows = hashed_dropout._hashed(seed * (hashed_dropout.GOLDEN - 2**32) + 1)
    of_columns = hashed_dropout._hashed(of_rows)
    row = hashed_dropout._hashed(2 * torch.arange(rows, dtype=torch.int32) + of_rows).long() & 0xFFFFFFFF
    column = hashed_dropout._hashed(2 * torch.arange(columns, dtype=torch.int32) + 1 + of_columns).long() & 0xFFFFFFFF
    product = row[:, None] * column[None, :]
    return (((product ^ (product >> 32)) >> 1) & 0x7FFFFFFF) < int(probability * 2**31)


class Largest(TorchDispatchMode):
    """Keeps how many numbers the largest tensor of each dtype has that is made within it."""

    def __init__(self) -> None:
        super().__init__()
        self.of: dict[torch.dtype, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in [made] if isinstance(made, Tensor) else []:
            self.of[tensor.dtype] = max(self.of.get(tensor.dtype, 0), tensor.numel())
        return made


@pytest.mark.parametrize("block", [hashed_dropout.BLOCK, 1, 7, 100, 2000])
@pytest.mark.parametrize(("rows", "columns"), [(0, 8), (1, 1), (5, 130), (64, 2560), (37, 41), (3, 0)])
def test_blocks_are_the_whole_to_the_bit(rows: int, columns: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashed_dropout, "BLOCK", block)
    wide = torch.randn(rows, columns + 3)
    for number in (0, 1, -1, 12345, 2**31 - 1, -(2**31)):
        seed = torch.tensor(number, dtype=torch.int32)
        for probability in (0.05, 0.1, 0.5, 0.9):
            expected = whole_mask(seed, rows, columns, 1.0 - probability)
            assert torch.equal(keep_mask(seed, rows, columns, 1.0 - probability), expected)
            for x in (wide[:, :columns], wide[:, :columns].contiguous().bfloat16()):
                dropped = torch.where(expected, x * (1.0 / (1.0 - probability)), 0.0)
                assert torch.equal(drop(x, seed, probability), dropped)


@pytest.mark.parametrize(("rows", "columns"), [(5120, 1024), (1536, 9728)], ids=["0.6b", "4b"])
def test_sizes_of_training_are_the_whole_to_the_bit_without_hashes_of_the_whole(rows: int, columns: int) -> None:
    seed, x = torch.tensor(7, dtype=torch.int32), torch.randn(rows, columns)
    with Largest() as largest:
        found = drop(x, seed, 0.1)
    assert torch.equal(found, torch.where(whole_mask(seed, rows, columns, 0.9), x * (1.0 / 0.9), 0.0))
    assert largest.of[torch.int64] <= hashed_dropout.BLOCK
    assert largest.of[torch.bool] <= hashed_dropout.BLOCK
    assert largest.of[torch.float32] == x.numel()

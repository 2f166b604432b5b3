"""Dropout whose mask is a hash of the place: independent coins, the same for the same seed."""

from __future__ import annotations

import pytest
import torch

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

"""Held-out problems: fixed by their own key, never on both sides, whatever the file's order."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.arrays import distinct
from surestep.data.sources import hold_out as splits
from surestep.data.sources.hold_out import place, positions

KEYS = st.lists(st.text(max_size=8), max_size=60)
FRACTIONS = st.floats(0.001, 0.5)
SEEDS = st.integers(0, 2**32)


def held_out(keys: Iterable[str], *, fraction: float, seed: int) -> frozenset[str]:
    keys = list(keys)
    out = splits.held_out(np.array([place(seed, key) for key in keys], np.uint64), fraction=fraction)
    return frozenset(key for key, is_out in zip(keys, out.tolist(), strict=True) if is_out)


def position(seed: int, key: str) -> float:
    return float(positions(np.array([place(seed, key)], np.uint64))[0])


@given(KEYS, FRACTIONS, SEEDS)
def test_at_least_one_at_most_half(keys: list[str], fraction: float, seed: int) -> None:
    out, distinct = held_out(keys, fraction=fraction, seed=seed), set(keys)
    assert out <= distinct
    assert len(out) <= len(distinct) // 2
    assert len(out) >= min(1, len(distinct) // 2)


@given(KEYS, FRACTIONS, SEEDS, st.randoms())
def test_the_order_and_repeats_of_the_file_do_not_matter(keys, fraction, seed, random) -> None:
    shuffled = keys + keys[:3]
    random.shuffle(shuffled)
    assert held_out(shuffled, fraction=fraction, seed=seed) == held_out(keys, fraction=fraction, seed=seed)


@given(st.sets(st.integers(), min_size=100, max_size=300), st.sets(st.integers(), max_size=300), SEEDS)
def test_more_problems_move_none_of_the_others(first: set[int], more: set[int], seed: int) -> None:
    before = {str(key) for key in first}
    out = held_out(before, fraction=0.2, seed=seed)
    # 100 problems at 0.2: neither bound binds (the chance of it is below 1e-9).
    assert 1 < len(out) < len(before) // 2
    assert held_out(before | {str(key) for key in more}, fraction=0.2, seed=seed) & before == out


@given(KEYS, FRACTIONS, SEEDS)
def test_the_lowest_positions_are_held_out(keys: list[str], fraction: float, seed: int) -> None:
    ranked = sorted((position(seed, key), key) for key in set(keys))
    below = sum(where < fraction for where, _ in ranked)
    expected = {key for _, key in ranked[: min(max(below, 1), len(ranked) // 2)]}
    assert held_out(keys, fraction=fraction, seed=seed) == expected


def test_the_share_is_about_the_fraction_and_another_seed_chooses_others() -> None:
    keys = [f"problem {number}" for number in range(20_000)]
    out = held_out(keys, fraction=0.05, seed=0)
    assert len(out) == pytest.approx(1000, abs=4 * (20_000 * 0.05 * 0.95) ** 0.5)  # four standard deviations
    other = held_out(keys, fraction=0.05, seed=1)
    assert len(out & other) < 150  # independent choices share 50


def test_positions_never_change_between_versions() -> None:
    # A changed hash would move problems that earlier models trained on into validation.
    assert position(0, "1 + 1 = ?") == 0.47177205052258453
    assert position(1, "1 + 1 = ?") != position(0, "1 + 1 = ?")


@pytest.mark.parametrize("fraction", [0.0, -0.1, 0.6, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="allowed: above 0, at most"):
        held_out(["a", "b"], fraction=fraction, seed=0)


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 5), max_size=30), st.sampled_from([0.01, 0.1, 0.5]))
def test_what_is_held_out_are_the_lowest_places(numbers: list[int], fraction: float) -> None:
    places = np.array(numbers, np.uint64)
    ranked = np.unique(places)
    assert np.array_equal(distinct(places), ranked)
    below = int(np.count_nonzero(splits.positions(ranked) < fraction))
    lowest = ranked[: min(max(below, 1), len(ranked) // 2)]
    assert np.array_equal(splits.held_out(places, fraction=fraction), np.isin(places, lowest))

"""The order of examples: repeatable, resumable, sharded, fair."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.training.mixture import Draw, Mixture

SHARES = {"a": 0.5, "b": 0.3, "c": 0.2}
SIZES = {"a": 37, "b": 11, "c": 5}


def draws(mixture: Mixture, first: int, last: int, count: int = 8) -> list[list[Draw]]:
    return [mixture.draw(step, count) for step in range(first, last)]


def test_the_same_seed_gives_the_same_examples_and_another_seed_others() -> None:
    runs = [draws(Mixture(SHARES, SIZES, seed=seed), 0, 20) for seed in (3, 3, 4)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@given(stop=st.integers(0, 30), seed=st.integers(0, 5), count=st.integers(1, 9))
def test_a_run_resumed_at_any_step_draws_what_an_uninterrupted_one_draws(stop: int, seed: int, count: int) -> None:
    whole = draws(Mixture(SHARES, SIZES, seed=seed), 0, 31, count)
    interrupted = Mixture(SHARES, SIZES, seed=seed)
    before = draws(interrupted, 0, stop, count)
    resumed = Mixture(SHARES, SIZES, seed=seed)
    resumed.drawn |= interrupted.drawn
    assert before + draws(resumed, stop, 31, count) == whole


@given(seed=st.integers(0, 20))
def test_no_example_repeats_before_its_dataset_is_through(seed: int) -> None:
    mixture = Mixture(SHARES, SIZES, seed=seed)
    sequence = [draw for step in draws(mixture, 0, 60) for draw in step]
    for name, size in SIZES.items():
        examples = [draw.example for draw in sequence if draw.dataset == name]
        for start in range(0, len(examples), size):
            one_pass = examples[start : start + size]
            assert len(set(one_pass)) == len(one_pass)
            assert set(one_pass) <= set(range(size))
        assert mixture.drawn[name] == len(examples)


def test_passes_are_shuffled_anew() -> None:
    mixture = Mixture({"a": 1.0}, {"a": 30}, seed=0)
    first, second = (mixture.draw(step, 30) for step in range(2))
    assert sorted(draw.example for draw in first) == sorted(draw.example for draw in second)
    assert first != second


@pytest.mark.slow
def test_examples_are_drawn_in_proportion_to_the_shares() -> None:
    mixture = Mixture(SHARES, SIZES, seed=1)
    counts = Counter(draw.dataset for step in draws(mixture, 0, 1500) for draw in step)
    for name, share in SHARES.items():
        # Three standard deviations of a share over 12,000 draws are at most 0.014.
        assert counts[name] / 12_000 == pytest.approx(share, abs=0.014)


def test_the_datasets_drawn_do_not_depend_on_how_large_they_are() -> None:
    small = draws(Mixture(SHARES, SIZES, seed=1), 0, 20)
    large = draws(Mixture(SHARES, dict.fromkeys(SIZES, 10_000), seed=1), 0, 20)
    assert [[d.dataset for d in step] for step in small] == [[d.dataset for d in step] for step in large]


@pytest.mark.parametrize("sizes", [{"a": 1}, {"a": 1, "b": 0, "c": 1}, {}])
def test_a_dataset_without_examples_is_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="every dataset needs an example"):
        Mixture(SHARES, sizes, seed=0)

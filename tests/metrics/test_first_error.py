"""First wrong steps: against a plain loop, at edges, with unscored steps; thresholds against a search of all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.metrics.benchmarks.first_error import (
    NO_ERROR,
    blind_f1,
    choose_threshold,
    first_error_figures,
    first_errors,
    interval_json,
    mean_over_subsets,
    num_ties,
    predicted_error,
)
from surestep.metrics.bootstrap.draws import Draws, seed_for

# Few values, so that ties and thresholds equal to a confidence are common.
confidence = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])


@st.composite
def solutions(draw: st.DrawFn) -> tuple[list[list[float]], list[int]]:
    steps = draw(st.lists(st.lists(confidence, max_size=5), min_size=1, max_size=12))
    return steps, [draw(st.integers(NO_ERROR, len(s) - 1)) for s in steps]


@given(solutions(), st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.75, 1.0]))
def test_what_is_right_equals_a_plain_loop(made: tuple[list[list[float]], list[int]], threshold: float) -> None:
    steps, labels = made
    found = first_errors(steps, labels, range(len(steps))).is_right(threshold)
    assert found.tolist() == [predicted_error(s, threshold) == label for s, label in zip(steps, labels, strict=True)]


def test_a_confidence_at_the_threshold_is_not_above_it() -> None:
    assert predicted_error([0.9, 0.5, 0.1], 0.5) == 1
    assert first_errors([[0.5]], [0], [0]).is_right(0.5).all()
    assert not first_errors([[0.5]], [NO_ERROR], [0]).is_right(0.5).any()
    assert num_ties([[0.5, 0.5, 0.4], [], [0.5, None]], 0.5) == 3


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_a_solution_without_steps_is_a_right_no_error(threshold: float) -> None:
    assert first_errors([[]], [NO_ERROR], [0]).is_right(threshold).all()


def test_what_was_not_scored_has_no_place_here() -> None:
    with pytest.raises(ValueError, match="a step has no confidence"):
        first_errors([[0.9, float("nan")]], [NO_ERROR], [0])


def test_no_solution_at_all_has_no_figure() -> None:
    found = first_error_figures(first_errors([], [], []), 0.5, resamples=3)
    assert found.section()["f1"] is None
    some = first_error_figures(first_errors([[0.9], [0.1]], [-1, 0], [0, 1]), 0.5, resamples=3)
    for by_count in (False, True):
        assert mean_over_subsets([found, some], by_count=by_count)["f1"] is None


def test_a_label_outside_the_solution_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed: -1 to 0"):
        first_errors([[0.5]], [1], [0])


def test_figures_by_hand() -> None:
    # Three wrong solutions, one found; two right ones, both left alone: 1/3, 1, and 2 * (1/3) / (4/3) = 1/2.
    steps = [[0.9, 0.1], [0.9, 0.9], [0.1, 0.1], [0.9], [0.8]]
    found = first_error_figures(first_errors(steps, [1, 1, 1, -1, -1], [0, 1, 2, 3, 3]), 0.5, resamples=50)
    section = found.section()
    assert section["accuracy_erroneous"] == pytest.approx(1 / 3)
    assert section["accuracy_correct"] == 1.0
    assert section["f1"] == pytest.approx(0.5)
    assert (section["num_solutions"], section["num_erroneous"], section["num_correct"]) == (5, 3, 2)
    assert section["num_problems"] == 4


def test_a_kind_of_solution_that_is_missing_leaves_its_figures_null() -> None:
    section = first_error_figures(first_errors([[0.9], [0.2]], [-1, -1], [0, 1]), 0.5, resamples=20).section()
    assert section["accuracy_erroneous"] is None
    assert section["f1"] is None
    assert section["accuracy_correct"] == 0.5
    assert section["intervals"]["f1"] is None
    assert section["intervals"]["accuracy_correct"]["low"] == 0.0


def test_resamples_without_a_kind_of_solution_are_counted() -> None:
    section = first_error_figures(first_errors([[0.9], [0.2]], [-1, 0], [0, 1]), 0.5, resamples=200).section()
    # Two problems drawn twice miss the wrong one in a quarter of the resamples.
    assert 20 < section["intervals"]["f1"]["undefined_resamples"] < 160


def test_solutions_of_one_problem_are_drawn_together() -> None:
    """Ten copies in one problem leave the interval as wide as one solution would."""
    steps = [[0.9]] * 10 + [[0.2]] * 10
    together = first_error_figures(first_errors(steps, [-1] * 20, [0] * 10 + [1] * 10), 0.5, resamples=200)
    apart = first_error_figures(first_errors(steps, [-1] * 20, range(20)), 0.5, resamples=200)
    width = {}
    for name, found in (("together", together), ("apart", apart)):
        interval = found.section()["intervals"]["accuracy_correct"]
        width[name] = interval["high"] - interval["low"]
    assert width["together"] == 1.0
    assert width["apart"] < 0.6


def test_means_over_subsets() -> None:
    small = first_error_figures(first_errors([[0.9], [0.1]], [-1, 0], [0, 1]), 0.5, resamples=30, seed=1)
    large = first_error_figures(
        first_errors([[0.9]] * 3 + [[0.9]] * 3, [-1] * 3 + [0] * 3, range(6)), 0.5, resamples=30, seed=2
    )
    plain, weighted = (mean_over_subsets([small, large], by_count=by_count) for by_count in (False, True))
    assert (plain["f1"], plain["accuracy_correct"], plain["accuracy_erroneous"]) == (0.5, 1.0, 0.5)
    assert weighted["f1"] == pytest.approx(2 / 8)


@pytest.mark.slow
@given(st.lists(solutions(), min_size=1, max_size=3))
def test_the_chosen_threshold_is_as_good_as_any(made: list[tuple[list[list[float]], list[int]]]) -> None:
    # A wrong and a right solution each, so that F1 exists.
    sets = [
        first_errors([*steps, [0.5, 0.25], [0.75]], [*labels, 1, NO_ERROR], range(len(steps) + 2))
        for steps, labels in made
    ]

    def mean_f1(threshold: float) -> float:
        return float(np.mean([first_error_figures(s, threshold, resamples=1).values["f1"] for s in sets]))

    chosen = choose_threshold(sets)
    assert 0.0 <= chosen.threshold <= 1.0
    assert mean_f1(chosen.threshold) == pytest.approx(chosen.f1)
    assert mean_f1(chosen.low) == pytest.approx(chosen.f1)
    assert mean_f1(max(chosen.low, np.nextafter(chosen.high, 0))) == pytest.approx(chosen.f1)
    assert chosen.f1 >= max(mean_f1(t) for t in np.linspace(0, 1, 101)) - 1e-12


def test_of_equal_thresholds_the_one_nearest_to_a_half() -> None:
    # Perfect for every threshold from 0.2 on and below 0.8.
    chosen = choose_threshold([first_errors([[0.9, 0.2], [0.8]], [1, -1], [0, 1])])
    assert (chosen.low, chosen.high, chosen.threshold, chosen.f1) == (0.2, 0.8, 0.5, 1.0)


def test_a_threshold_needs_both_kinds() -> None:
    with pytest.raises(ValueError, match="wrong and right"):
        choose_threshold([first_errors([[0.9]], [-1], [0])])


@pytest.mark.slow
def test_intervals_cover_as_often_as_they_claim() -> None:
    """Accuracy on right solutions, true value 0.7, 300 problems of two solutions that succeed together."""
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        values = np.repeat(np.where(rng.random(300) < 0.7, 0.9, 0.1), 2)
        found = first_errors([[v] for v in values], [-1] * 600, np.repeat(np.arange(300), 2))
        interval = first_error_figures(found, 0.5, resamples=200, seed=seed).section()["intervals"]["accuracy_correct"]
        covered += interval["low"] <= 0.7 <= interval["high"]
    assert 88 <= covered <= 100


def test_parts_have_seeds_of_their_own() -> None:
    table = np.arange(20.0)[:, None]
    draws = [Draws(len(table), 5, seed_for(0, name)).sums(table) for name in ("math", "gsm8k", "math")]
    assert (draws[0] == draws[2]).all()
    assert (draws[0] != draws[1]).any()


def test_an_interval_of_nothing_is_none() -> None:
    assert interval_json(np.full(3, np.nan)) is None


def test_the_blind_scorer_by_simulation() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 8, 400)
    labels = np.where(rng.random(400) < 0.5, -1, rng.integers(0, lengths))
    found = blind_f1(labels.tolist(), lengths.tolist())
    assert found is not None
    f1, chance = found
    f1s = [
        first_error_figures(
            first_errors([(rng.random(n) > chance).astype(float) for n in lengths], labels.tolist(), range(400)),
            0.5,
            resamples=1,
        ).values["f1"]
        for _ in range(100)
    ]
    assert np.mean(f1s) == pytest.approx(f1, abs=0.01)


@pytest.mark.parametrize("labels", [[-1, -1], [0, 0]])
def test_a_blind_scorer_needs_both_kinds(labels: list[int]) -> None:
    assert blind_f1(labels, [1, 1]) is None

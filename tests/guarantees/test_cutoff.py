"""The cut-off, its order, levels and the figures that are known exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.guarantees import (
    EVERYTHING_KEPT,
    NOTHING_KEPT,
    CriticalValues,
    beta_cdf,
    beta_quantile,
    cutoff,
    cutoff_for_mix,
    cutoff_pac,
    levels,
    merge_small_groups,
    order,
    order_pac,
    smallest_alpha,
    smallest_count,
    smallest_count_pac,
)

ones = np.ones


def test_the_cutoff_is_the_kth_largest_and_is_strict() -> None:
    values = np.arange(1, 40) / 100
    assert order(0.1, 39) == 4
    assert cutoff(values, ones(39), 39, 0.1) == 0.36
    assert (values > 0.36).sum() == 3


def test_below_the_smallest_count_nothing_is_kept_and_from_it_on_the_largest_value_cuts() -> None:
    values = np.random.default_rng(1).random(19)
    assert cutoff(values[:18], ones(18), 18, 0.05) == NOTHING_KEPT
    assert cutoff(values, ones(19), 19, 0.05) == values.max()


@pytest.mark.parametrize("values", [[], [-math.inf] * 30])
def test_without_a_wrong_step_everything_is_kept(values: list[float]) -> None:
    assert cutoff(values, ones(len(values)), 30, 0.1) == EVERYTHING_KEPT


def test_decimals_that_are_no_binary_fractions_do_not_lose_a_place() -> None:
    assert order(0.29, 99) == 29
    values = np.arange(99.0)
    assert cutoff(values, ones(99), 99, 0.29) == 99 - 29


def test_weights_are_summed_over_problems() -> None:
    assert cutoff([0.9, 0.2, 0.8, -math.inf], [0.5, 0.5, 1.0, 1.0], 3, 0.5) == 0.8


def test_no_problem_gives_no_rule() -> None:
    assert cutoff([], [], 0, 0.1) == NOTHING_KEPT


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        cutoff([math.nan], [1.0], 30, 0.1)


def test_the_smallest_numbers_of_problems() -> None:
    assert [smallest_count(alpha) for alpha in (0.05, 0.1, 0.2)] == [19, 9, 4]
    assert [smallest_count_pac(alpha, 0.1) for alpha in (0.05, 0.1, 0.2)] == [45, 22, 11]
    assert [smallest_count_pac(alpha, 0.05) for alpha in (0.05, 0.1, 0.2)] == [59, 29, 14]
    assert round(smallest_alpha(12), 3) == 0.077


@pytest.mark.parametrize(
    ("alpha", "orders"), [(0.05, [1, 6, 34]), (0.1, [2, 15, 72]), (0.2, [6, 33, 152])], ids=["5%", "10%", "20%"]
)
def test_the_order_that_holds_in_all_but_a_tenth_of_calibration_sets(alpha: float, orders: list[int]) -> None:
    assert [order_pac(alpha, n, 0.1) for n in (50, 200, 835)] == orders


@given(st.integers(1, 120), st.sampled_from([0.05, 0.1, 0.2, 0.29, 0.5]), st.sampled_from([0.05, 0.1, 0.3]))
def test_smallest_counts_agree_with_orders(n: int, alpha: float, delta: float) -> None:
    assert (order(alpha, n) >= 1) == (n >= smallest_count(alpha))
    assert (order_pac(alpha, n, delta) >= 1) == (n >= smallest_count_pac(alpha, delta))
    assert order_pac(alpha, n, delta) <= max(order(alpha, n), 1)


@given(st.integers(1, 400), st.sampled_from([0.05, 0.1, 0.2, 0.5]), st.sampled_from([0.05, 0.1, 0.3]))
def test_at_the_order_for_most_sets_the_risk_is_above_alpha_in_at_most_delta_of_them(
    n: int, alpha: float, delta: float
) -> None:
    k = order_pac(alpha, n, delta)
    assert k == 0 or 1.0 - beta_cdf(alpha, k, n) <= delta + 1e-12
    assert k == n or 1.0 - beta_cdf(alpha, k + 1, n) > delta, "the largest such order"


def test_the_beta_distribution_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for k, n in ((1, 19), (5, 50), (83, 835), (500, 5000)):
        for x in (0.001, 0.05, 0.0993, 0.4):
            assert beta_cdf(x, k, n) == pytest.approx(stats.beta.cdf(x, k, n + 1 - k), abs=1e-10)
        assert beta_quantile(0.95, k, n) == pytest.approx(stats.beta.ppf(0.95, k, n + 1 - k), abs=1e-9)


tied_values = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), min_size=1, max_size=60)
fractions = st.sampled_from([0.05, 0.1, 0.2, 0.25, 0.29, 0.3, 0.5, 0.9])


@given(tied_values, st.integers(0, 30), fractions, st.integers(1, 4))
def test_a_score_is_kept_exactly_where_its_level_is_at_most_alpha(
    values: list[float], clean: int, alpha: float, parts: int
) -> None:
    """With ties, problems without an error, and weights: the level and the cut-off are one rule."""
    weights = np.full(len(values), 1.0 / parts)
    n = math.ceil(len(values) / parts) + clean
    scores = np.array([-math.inf, 0.0, 0.05, 0.1, 0.25, 0.5, 0.7, 0.9, 1.0])
    level = levels(scores, values, weights, n)
    np.testing.assert_array_equal(level <= alpha, scores > cutoff(values, weights, n, alpha))
    assert (np.diff(level) <= 0).all()


@given(tied_values, fractions)
def test_weights_of_one_are_no_weights(values: list[float], alpha: float) -> None:
    ranked = sorted(values, reverse=True)
    k = order(alpha, len(values))
    assert cutoff(values, ones(len(values)), len(values), alpha) == (ranked[k - 1] if k else NOTHING_KEPT)
    critical = CriticalValues(np.array(values), ones(len(values)), np.arange(len(values)), len(values))
    assert cutoff_for_mix(critical, ["a"] * len(values), {"a": 1.0}, "a", alpha) == cutoff(
        values, ones(len(values)), len(values), alpha
    )


@given(tied_values, fractions, st.randoms(use_true_random=False))
def test_the_order_of_problems_changes_nothing(values: list[float], alpha: float, random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    n = len(values)
    assert cutoff(values, ones(n), n, alpha) == cutoff(shuffled, ones(n), n, alpha)
    assert cutoff_pac(values, n, alpha, 0.1) == cutoff_pac(shuffled, n, alpha, 0.1)


def test_uniform_values_have_exactly_the_risk_of_their_rank() -> None:
    """20,000 calibration sets: mean k/(n+1), and above α in the share that the Beta distribution says."""
    random = np.random.default_rng(20261128)
    sets, n, alpha = 20_000, 50, 0.1
    k = order(alpha, n)
    values = random.random((sets, n))
    cutoffs = np.partition(values, n - k, axis=1)[:, n - k]
    assert cutoffs[0] == cutoff(values[0], ones(n), n, alpha)
    risk = 1.0 - cutoffs
    assert abs(risk.mean() - 0.0980) < 4 * 0.0003
    assert (risk > alpha).mean() == pytest.approx(0.431, abs=4 * 0.0035)
    assert 1.0 - beta_cdf(alpha, k, n) == pytest.approx(0.431, abs=5e-4)
    left_out = [values[0][i] > cutoff(np.delete(values[0], i), ones(n - 1), n - 1, alpha) for i in range(n)]
    assert np.mean(left_out) == math.floor(alpha * n) / n, "by construction: no estimate of anything"


def test_a_known_change_of_the_mix_is_weighted() -> None:
    """80% hard in use, 20% in calibration: the weights hold the risk that the plain cut-off breaks."""
    random = np.random.default_rng(5)
    risks: dict[str, list[float]] = {"plain": [], "weighted": []}
    alpha, n = 0.1, 200
    for _ in range(300):
        hard = random.random(n) < 0.2
        wrong = random.random(n) < np.where(hard, 0.9, 0.3)
        values = np.where(wrong, random.random(n), -math.inf)
        critical = CriticalValues.of([(np.array([value]), ones(1)) for value in values])
        group = np.where(hard, "hard", "easy").tolist()
        c = cutoff(critical.values, critical.weights, n, alpha)
        by_group = {g: cutoff_for_mix(critical, group, {"easy": 0.2, "hard": 0.8}, g, alpha) for g in ("easy", "hard")}

        def risk(cutoffs: dict[str, float]) -> float:
            return 0.2 * 0.3 * (1 - min(1, cutoffs["easy"])) + 0.8 * 0.9 * (1 - min(1, cutoffs["hard"]))

        risks["plain"].append(risk({"easy": max(c, 0), "hard": max(c, 0)}))
        risks["weighted"].append(risk({g: max(value, 0) for g, value in by_group.items()}))
    assert np.mean(risks["plain"]) > 0.15
    assert np.mean(risks["weighted"]) < alpha + 4 * np.std(risks["weighted"]) / math.sqrt(300)


def test_shares_that_cannot_be_weighted_are_refused() -> None:
    critical = CriticalValues(np.array([0.5]), ones(1), np.array([0]), 2)
    with pytest.raises(ValueError, match="hard"):
        cutoff_for_mix(critical, ["easy", "easy"], {"easy": 0.5, "hard": 0.5}, "hard", 0.5)
    with pytest.raises(ValueError, match="together 1"):
        cutoff_for_mix(critical, ["easy", "easy"], {"easy": 0.5}, "easy", 0.5)
    with pytest.raises(ValueError, match="no share"):
        cutoff_for_mix(critical, ["easy", "hard"], {"easy": 1.0}, "hard", 0.5)


def test_a_group_below_the_smallest_count_is_merged() -> None:
    assert merge_small_groups({"a": 9, "b": 8}, smallest_count(0.1)) == {"a": "a", "b": "others"}

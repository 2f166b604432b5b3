"""Closed forms against going through every N-subset; ties; perfect and silent scorers."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.metrics.benchmarks.aggregation import aggregate
from surestep.metrics.benchmarks.best_of_n import (
    best_of_n,
    dense_answers,
    majority_vote,
    pass_at_n,
    powers_up_to,
    tie_levels,
)
from surestep.metrics.benchmarks.weighted_vote import choose_subsets, weighted_majority


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Scores with many ties, answers, correctness (mostly by answer), and N."""
    total = draw(st.integers(1, 7))
    many = {"min_size": total, "max_size": total}
    scores = np.array(draw(st.lists(st.sampled_from([0.0, 0.2, 0.3, 0.5, 1.0]), **many)))
    answers = dense_answers([str(a) for a in draw(st.lists(st.integers(0, 3), **many))])
    if draw(st.booleans()):
        correct = answers == draw(st.integers(0, 3))
    else:
        correct = np.array(draw(st.lists(st.booleans(), **many)))
    return scores, answers, correct, draw(st.integers(1, total))


def by_going_through(choose, total: int, n: int) -> float:
    """Mean over all N-subsets of the expected correctness that `choose(indices)` gives."""
    return float(np.mean([choose(list(subset)) for subset in combinations(range(total), n)]))


@given(problems())
def test_pass_at_n_equals_every_subset(problem) -> None:
    _, _, correct, n = problem
    expected = by_going_through(lambda chosen: float(correct[chosen].any()), len(correct), n)
    assert pass_at_n(correct, n) == pytest.approx(expected, abs=1e-12)


@given(problems())
def test_best_of_n_equals_every_subset(problem) -> None:
    scores, _, correct, n = problem

    def choose(chosen: list[int]) -> float:
        best = [i for i in chosen if scores[i] == scores[chosen].max()]
        return float(correct[best].mean())

    assert best_of_n(scores, correct, n) == pytest.approx(by_going_through(choose, len(scores), n), abs=1e-12)


def vote(answers: np.ndarray, correct: np.ndarray, weights: np.ndarray):
    def choose(chosen: list[int]) -> float:
        sums = {a: sum(weights[i] for i in chosen if answers[i] == a) for a in {int(answers[i]) for i in chosen}}
        won = [a for a, s in sums.items() if s == pytest.approx(max(sums.values()), rel=1e-9, abs=0)]
        return float(np.mean([correct[answers == a].mean() for a in won]))

    return choose


@given(problems())
def test_majority_vote_equals_every_subset(problem) -> None:
    _, answers, correct, n = problem
    expected = by_going_through(vote(answers, correct, np.ones(len(answers))), len(answers), n)
    assert majority_vote(answers, correct, n) == pytest.approx(expected, abs=1e-12)


@given(problems())
def test_weighted_majority_equals_every_subset(problem) -> None:
    scores, answers, correct, n = problem
    found = weighted_majority(
        np.stack([scores, np.ones(len(scores))]), answers, correct, choose_subsets(len(scores), n)
    )
    expected = by_going_through(vote(answers, correct, scores), len(scores), n)
    assert found.accuracy[0] == pytest.approx(expected, abs=1e-12)
    # Equal weights are the plain vote.
    assert found.accuracy[1] == pytest.approx(majority_vote(answers, correct, n), abs=1e-12)
    assert not found.standard_error.any()


@given(problems())
def test_a_perfect_scorer_reaches_pass_at_n(problem) -> None:
    _, _, correct, n = problem
    assert best_of_n(correct.astype(float), correct, n) == pytest.approx(pass_at_n(correct, n), abs=1e-12)


@given(problems())
def test_a_scorer_that_says_nothing_reaches_pass_at_1(problem) -> None:
    _, _, correct, n = problem
    assert best_of_n(np.full(len(correct), 0.5), correct, n) == pytest.approx(correct.mean(), abs=1e-12)


def test_a_random_scorer_reaches_pass_at_1_in_expectation() -> None:
    correct = np.array([True, False, False, True, False])
    rng = np.random.default_rng(0)
    values = [best_of_n(rng.random(5), correct, 3) for _ in range(4000)]
    # Standard error below 0.008.
    assert np.mean(values) == pytest.approx(0.4, abs=0.03)


@given(problems())
def test_with_one_candidate_every_method_is_pass_at_1(problem) -> None:
    scores, answers, correct, _ = problem
    share = pytest.approx(correct.mean(), abs=1e-12)
    assert pass_at_n(correct, 1) == share
    assert best_of_n(scores, correct, 1) == share
    assert majority_vote(answers, correct, 1) == share
    assert weighted_majority(scores[None], answers, correct, choose_subsets(len(scores), 1)).accuracy[0] == share


@given(problems(), st.randoms(use_true_random=False))
def test_the_order_of_the_candidates_does_not_matter(problem, random) -> None:
    scores, answers, correct, n = problem
    order = list(range(len(scores)))
    random.shuffle(order)
    again = dense_answers([str(a) for a in answers[order]])
    assert best_of_n(scores[order], correct[order], n) == pytest.approx(best_of_n(scores, correct, n))
    assert majority_vote(again, correct[order], n) == pytest.approx(majority_vote(answers, correct, n))


def test_a_large_vote_stays_exact() -> None:
    """1,000 candidates, 600 right and 400 wrong with one answer: the vote of 101 is a hypergeometric tail."""
    from math import comb

    answers = np.repeat([0, 1], [600, 400])
    expected = sum(comb(600, k) * comb(400, 101 - k) for k in range(51, 102)) / comb(1000, 101)
    assert majority_vote(answers, answers == 0, 101) == pytest.approx(expected, rel=1e-9)


def test_drawn_subsets_come_near_all_of_them_and_say_how_near() -> None:
    rng = np.random.default_rng(3)
    scores, answers = rng.random(12), rng.integers(0, 4, 12)
    answers = dense_answers([str(a) for a in answers])
    correct = answers == 1
    everything = weighted_majority(scores[None], answers, correct, choose_subsets(12, 5))
    few = choose_subsets(12, 5, limit=100, drawn=2000, seed=1)
    assert not few.is_all
    assert few.members.shape == (2000, 12)
    assert (few.members.sum(axis=1) == 5).all()
    drawn = weighted_majority(scores[None], answers, correct, few)
    assert 0 < drawn.standard_error[0] < 0.012
    assert abs(drawn.accuracy[0] - everything.accuracy[0]) < 4 * drawn.standard_error[0]
    again = choose_subsets(12, 5, limit=100, drawn=2000, seed=1)
    assert (again.members == few.members).all()


def test_answers_of_weight_zero_win_only_where_they_are() -> None:
    """Two answers, both of weight 0: neither the third, absent one nor an order decides."""
    subsets = choose_subsets(3, 2)
    found = weighted_majority(np.zeros((1, 3)), np.array([0, 1, 2]), np.array([True, False, False]), subsets)
    assert found.accuracy[0] == pytest.approx(1 / 3)


@pytest.mark.parametrize(("how", "expected"), [("min", 0.5), ("product", 0.4), ("mean", 0.65), ("last", 0.8)])
def test_aggregations(how: str, expected: float) -> None:
    assert aggregate(np.array([0.5, 0.8]), how) == pytest.approx(expected)
    assert aggregate(np.array([]), how) == 0.0


def test_n_beyond_the_candidates_is_refused() -> None:
    for n in (0, 3):
        with pytest.raises(ValueError, match="allowed: 1 to 2"):
            pass_at_n(np.array([True, False]), n)


def test_powers() -> None:
    assert [powers_up_to(k) for k in (1, 4, 7)] == [[1], [1, 2, 4], [1, 2, 4]]


@given(problems(), st.data())
def test_choosing_among_answered_candidates_equals_every_subset(problem, data: st.DataObject) -> None:
    """Those without an answer are drawn with the others, and never chosen; a subset of them alone is wrong."""
    scores, answers, correct, n = problem
    total = len(scores)
    answered = np.array(data.draw(st.lists(st.booleans(), min_size=total, max_size=total)))
    _, among = np.unique(answers[answered], return_inverse=True)

    def only_answered(choose):
        return lambda chosen: choose(left) if (left := [i for i in chosen if answered[i]]) else 0.0

    def best(chosen: list[int]) -> float:
        return float(correct[[i for i in chosen if scores[i] == scores[chosen].max()]].mean())

    found = best_of_n(scores, correct, n, may_win=answered)
    assert found == pytest.approx(by_going_through(only_answered(best), total, n), abs=1e-12)

    def voted(weights: np.ndarray):
        def choose(chosen: list[int]) -> float:
            sums = {a: sum(weights[i] for i in chosen if answers[i] == a) for a in {int(answers[i]) for i in chosen}}
            won = [a for a, s in sums.items() if s == pytest.approx(max(sums.values()), rel=1e-9, abs=0)]
            return float(np.mean([correct[answered & (answers == a)].mean() for a in won]))

        return only_answered(choose)

    silent = int((~answered).sum())
    found = majority_vote(among, correct[answered], n, silent=silent)
    assert found == pytest.approx(by_going_through(voted(np.ones(total)), total, n), abs=1e-12)
    subsets = choose_subsets(total, n)
    weighted = weighted_majority(scores[None], among, correct[answered], subsets, has_vote=answered).accuracy[0]
    assert weighted == pytest.approx(by_going_through(voted(scores), total, n), abs=1e-12)


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.7, 0.9]), min_size=1, max_size=6), st.integers(1, 5))
def test_the_order_of_the_steps_makes_no_score_higher(steps: list[float], n: int) -> None:
    """Means and products of the same confidences in another order differ in their last digits, and tie all the same."""
    orders = [steps, steps[::-1], sorted(steps), sorted(steps, reverse=True), [*steps[1:], steps[0]]]
    for how in ("mean", "product", "min"):
        scores = np.array([aggregate(np.array(order), how) for order in orders])
        assert tie_levels(scores).tolist() == [0] * 5
        correct = np.array([True, False, True, False, False])
        assert best_of_n(scores, correct, n) == pytest.approx(0.4, abs=1e-12)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8), st.randoms(use_true_random=False))
def test_ties_do_not_hang_on_the_order_of_the_candidates(scores: list[float], random) -> None:
    order = list(range(len(scores)))
    random.shuffle(order)
    values = np.array(scores)
    assert (tie_levels(values)[order] == tie_levels(values[order])).all()
    higher = values[:, None] > values[None, :]
    levels = tie_levels(values)
    assert (levels[:, None] >= levels[None, :])[higher].all()


def test_what_a_scorer_in_single_precision_tells_apart_stays_apart() -> None:
    half = np.float32(0.5)
    assert tie_levels(np.array([half, np.nextafter(half, np.float32(1))], np.float64)).tolist() == [0, 1]
    assert tie_levels(np.array([0.0, 1e-300])).tolist() == [0, 1]
    assert tie_levels(np.array([-4.25, 0.1 + 0.2 - 0.3, 0.0, 3.0])).tolist() == [0, 1, 1, 2]


def test_a_large_vote_of_many_answers_equals_drawn_subsets() -> None:
    """256 candidates of 40 answers: too many subsets to go through; 20,000 drawn ones come near."""
    rng = np.random.default_rng(5)
    share = 1 / np.arange(1, 41)
    answers = dense_answers([str(a) for a in rng.choice(40, 256, p=share / share.sum())])
    correct = answers == int(answers[np.argmax(np.bincount(answers)[answers])])
    subsets = choose_subsets(256, 16, drawn=20_000, seed=1)
    drawn = weighted_majority(np.ones((1, 256)), answers, correct, subsets)
    assert abs(majority_vote(answers, correct, 16) - drawn.accuracy[0]) < 4 * drawn.standard_error[0]

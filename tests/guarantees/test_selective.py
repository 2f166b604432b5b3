"""Selective use: the wrong share of what is handed out; frozen policies certified on their output; their cost."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.errors import InputError
from surestep.guarantees import Judging, ScoredProblem, ScoredTree, cutoff
from surestep.guarantees.choose_path import highest_path
from surestep.guarantees.critical_values import of_path, solutions_of
from surestep.guarantees.selective import (
    Policy,
    SampledSolution,
    SelectiveRule,
    check_policy,
    cost_curve,
    cutoff_sequence,
)
from surestep.guarantees.selective.cost_curve import cheapest_at_accuracy

by = st.sampled_from(["min", "product", "mean", "last"])
steps = st.lists(st.one_of(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.just(math.nan)), max_size=4)
policies = st.builds(
    Policy, st.one_of(st.none(), st.integers(1, 4)), by, st.one_of(st.just(math.inf), st.sampled_from([0.2, 0.5]))
)


# The rule


def test_the_fewest_that_pass_are_those_of_the_specification() -> None:
    """None wrong among 45, 22, 11 handed out, at a delta of 0.1."""
    for alpha, fewest in ((0.05, 45), (0.1, 22), (0.2, 11)):
        for count in (fewest - 1, fewest):
            rule = SelectiveRule.fit(np.ones(count), np.zeros(count, bool), (0.0,), alpha=alpha, delta=0.1)
            assert (rule.cutoff == 0.0) == (count == fewest)
            assert rule.handed_out == (count if count == fewest else 0)


def test_nothing_is_handed_out_where_no_cutoff_passes_and_it_says_what_is_needed() -> None:
    rule = SelectiveRule.fit(np.ones(10), np.zeros(10, bool), (0.0,), alpha=0.1, delta=0.1)
    assert rule.decide(1.0) == "abstain"
    assert rule.decide(math.nan) == "abstain"
    assert "no rule at 10% with 90% confidence: 22 handed out" in rule.in_words()


def test_it_stops_at_the_first_that_fails() -> None:
    """A looser cut-off that would pass again is not reached: it may have passed by chance."""
    scores = np.concatenate([np.full(30, 0.9), np.full(10, 0.5), np.full(200, 0.1)])
    wrong = np.concatenate([np.zeros(30, bool), np.ones(10, bool), np.zeros(200, bool)])
    rule = SelectiveRule.fit(scores, wrong, (0.8, 0.4, 0.0), alpha=0.1, delta=0.1)
    assert SelectiveRule.fit(scores, wrong, (0.0,), alpha=0.1, delta=0.1).cutoff == 0.0
    assert (rule.cutoff, rule.handed_out, rule.wrong, rule.tested) == (0.8, 30, 0, 2)


def test_the_share_is_above_alpha_in_at_most_delta_of_calibration_sets() -> None:
    """And the least cut-off with a small enough empirical share is not so: nearly half of the sets."""
    random = np.random.default_rng(4)
    scores = random.random((800, 200))
    wrong = random.random(scores.shape) < 0.25 * (1 - scores)
    # P(wrong | score above c) is 0.25 (1 − c) / 2.
    other = random.random(1000)
    sequence = cutoff_sequence(other, 200, alpha=0.1, delta=0.1)
    rules = [SelectiveRule.fit(s, w, sequence, alpha=0.1, delta=0.1) for s, w in zip(scores, wrong, strict=True)]
    share = np.array([0.125 * (1 - max(rule.cutoff, 0.0)) if rule.cutoff < math.inf else 0.0 for rule in rules])
    broken = (share > 0.1).mean()
    assert broken < 0.1 + 3 * math.sqrt(0.1 * 0.9 / 800)
    assert np.mean([rule.handed_out for rule in rules]) > 50
    naive = 0
    for s, w in zip(scores[:300], wrong[:300], strict=True):
        order = np.argsort(-s)
        empirical = np.cumsum(w[order]) / np.arange(1, 201)
        last = int(np.flatnonzero(empirical <= 0.1)[-1])
        naive += 0.125 * (1 - s[order][last]) > 0.1
    assert naive / 300 > 0.25


@given(
    st.lists(st.one_of(st.floats(0, 1), st.just(-math.inf)), max_size=60),
    st.integers(0, 200),
    st.sampled_from([0.05, 0.1, 0.3]),
)
def test_a_sequence_falls_to_everything_and_begins_where_enough_are_expected(
    scores: list[float], n: int, alpha: float
) -> None:
    sequence = cutoff_sequence(scores, n, alpha=alpha, delta=0.1)
    needed = 2 * math.log(0.1) / math.log1p(-alpha)
    assert all(one > other for one, other in pairwise(sequence))
    if not scores or n < needed:
        assert sequence == ()
    elif sequence:
        assert sequence[-1] == -math.inf
        if len(set(scores)) == len(scores) and -math.inf not in scores:
            assert np.mean(np.array(scores) > sequence[0]) * n >= needed * (1 - 1e-9)


@given(
    st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.booleans()), max_size=80),
    st.randoms(use_true_random=False),
)
def test_the_order_of_problems_changes_nothing_and_a_larger_alpha_hands_out_as_much(
    problems: list[tuple[float, bool]], random: Any
) -> None:
    def fitted(some: list[tuple[float, bool]], alpha: float) -> SelectiveRule:
        scores, wrong = np.array([one for one, _ in some]), np.array([one for _, one in some], bool)
        return SelectiveRule.fit(scores, wrong, (0.8, 0.4, 0.15, -math.inf), alpha=alpha, delta=0.1)

    assert fitted(problems, 0.2) == fitted(random.sample(problems, len(problems)), 0.2)
    assert fitted(problems, 0.4).cutoff <= fitted(problems, 0.2).cutoff


@given(st.sampled_from([0.1, 0.8, math.inf, -math.inf]), st.sampled_from([0.0, math.inf, -math.inf]))
def test_a_rule_comes_back(cut: float, escalate_above: float) -> None:
    sequence = (0.8, 0.1, -math.inf)
    rule = SelectiveRule(0.1, 0.1, cut, 100, 60, 1, sequence, 2, escalate_above)
    assert SelectiveRule.from_json(json.loads(json.dumps(rule.to_json(), allow_nan=False))) == rule


@pytest.mark.parametrize(
    "change", [{"format_version": 9}, {"cutoff": 0.33}, {"sequence": None}, {"alpha": "x"}], ids=str
)
def test_a_damaged_rule_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        SelectiveRule.from_json(SelectiveRule(0.1, 0.1, 0.8, 100, 60, 1, (0.8,), 1).to_json() | change)


@pytest.mark.parametrize(
    ("scores", "wrong", "sequence", "alpha"),
    [
        ([0.5, math.nan], [True, False], (0.1,), 0.1),
        ([0.5], [True, False], (0.1,), 0.1),
        ([0.5], [True], (0.1, 0.1), 0.1),
        ([0.5], [True], (0.1,), 0.0),
    ],
)
def test_what_cannot_be_tested_is_refused(scores: Any, wrong: Any, sequence: Any, alpha: float) -> None:
    with pytest.raises(ValueError, match=r"."):
        SelectiveRule.fit(scores, wrong, sequence, alpha=alpha, delta=0.1)
    with pytest.raises(ValueError, match="NaN"):
        cutoff_sequence([math.nan], 100, alpha=0.1, delta=0.1)


# Policies


@given(policies)
def test_an_id_tells_policies_apart(policy: Policy) -> None:
    other = Policy(policy.most, policy.by, 0.7)
    assert (policy.id == other.id) == (policy.most == 1)
    check_policy(policy.id, policy.id)
    if policy.most != 1:
        with pytest.raises(InputError, match="does not survive another choice"):
            check_policy(policy.id, other.id)


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("first", Policy(1)),
        ("best", Policy()),
        ("best_of_8", Policy(8)),
        ("first_of_8_above_0.9", Policy(8, stop_above=0.9)),
        ("first_of_3_above_1e-3", Policy(3, stop_above=0.001)),
    ],
)
def test_policies_are_named(text: str, policy: Policy) -> None:
    assert Policy.from_flag(text) == policy


@pytest.mark.parametrize(
    "text",
    ["", "best_of_0", "best_of_8_", "first_of_8", "first_of_8_above_", "first_of_8_above_1.2.3", "worst", "best_of_-1"],
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="allowed: first, best"):
        Policy.from_flag(text)


@pytest.mark.parametrize("values", [(0,), (2, "median"), (2, "min", math.nan)])
def test_policies_out_of_range_are_refused(values: Any) -> None:
    with pytest.raises(InputError, match="allowed"):
        Policy(*values)


def pairs(solutions: list[list[float]]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.array(one, float), np.array(one, float)) for one in solutions]


@given(policies, st.lists(steps, max_size=6))
def test_a_policy_looks_no_further_than_it_must_and_takes_the_best_of_that(
    policy: Policy, solutions: list[list[float]]
) -> None:
    choice = policy.choose(pairs(solutions))
    if not solutions:
        assert choice is None
        return
    assert choice is not None
    assert choice.place < choice.looked_at <= min(len(solutions), policy.most or len(solutions))
    again = policy.choose(pairs(solutions[: choice.looked_at]))
    assert again == choice, "what comes later is not looked at"
    if policy.stop_above == math.inf:
        assert choice.looked_at == min(len(solutions), policy.most or len(solutions))


@given(by, st.lists(steps, min_size=1, max_size=6))
def test_the_best_of_all_is_the_one_that_the_certificate_of_the_chosen_path_means(
    how: str, solutions: list[list[float]]
) -> None:
    trees = tuple(
        ScoredTree(np.arange(len(one)) - 1, np.array(one, float), np.array(one, float), np.ones(len(one)))
        for one in solutions
        if one
    )
    found = solutions_of(ScoredProblem(1, trees))
    if found:
        assert Policy(by=how).path_choice()(found) == highest_path(how)(found)


def test_what_a_policy_hands_out_is_certified_and_the_first_that_passes_is_not() -> None:
    """Problems with eight one-step solutions: the trap of section 7, and both mended forms."""
    random = np.random.default_rng(11)
    sets, n, new, N = 120, 60, 40, 8

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        wrong = random.random((sets, count, N)) < 0.5
        score = np.where(wrong, random.normal(0, 1, wrong.shape), random.normal(1.2, 1, wrong.shape))
        return 1 / (1 + np.exp(-score)), wrong

    old, old_wrong = draw(n)
    test, test_wrong = draw(new)
    rates: dict[str, list[float]] = {"naive": [], "best": [], "early": []}
    for s in range(sets):
        alone = cutoff(np.where(old_wrong[s, :, 0], old[s, :, 0], -np.inf), np.ones(n), n, 0.1)
        for name, policy in (("best", Policy(8)), ("early", Policy(8, stop_above=0.8))):
            problems = [
                ScoredProblem(
                    i,
                    tuple(
                        ScoredTree(np.array([-1]), np.array([p]), np.array([p]), np.array([1.0 - w]))
                        for p, w in zip(old[s, i], old_wrong[s, i], strict=True)
                    ),
                )
                for i in range(n if s < 4 else 0)
            ]
            index = np.array([_place(policy, row) for row in old[s]])
            values = np.take_along_axis(old[s], index[:, None], 1)[:, 0]
            bad = np.take_along_axis(old_wrong[s], index[:, None], 1)[:, 0]
            cut = cutoff(np.where(bad, values, -np.inf), np.ones(n), n, 0.1)
            if problems:
                found = [(solutions_of(one), policy.path_choice()) for one in problems]
                critical = [of_path(*some[choose(some)], Judging(score="min"))[0] for some, choose in found]
                assert sorted(np.concatenate(critical).tolist()) == sorted(values[bad].tolist())
            index = np.array([_place(policy, row) for row in test[s]])
            out = np.take_along_axis(test[s], index[:, None], 1)[:, 0] > cut
            rates[name].append(float((out & np.take_along_axis(test_wrong[s], index[:, None], 1)[:, 0]).mean()))
        passes = test[s] > alone
        first = passes.argmax(axis=1)
        rates["naive"].append(
            float((passes.any(axis=1) & np.take_along_axis(test_wrong[s], first[:, None], 1)[:, 0]).mean())
        )
    mean = {name: float(np.mean(values)) for name, values in rates.items()}
    noise = {name: 4 * float(np.std(values)) / math.sqrt(sets) for name, values in rates.items()}
    assert mean["naive"] > 0.15
    for name in ("best", "early"):
        assert mean[name] <= 0.1 + noise[name]


def _place(policy: Policy, scores: np.ndarray) -> int:
    """Of one-step solutions: quicker than `choose`, and equal to it on the first problems of each set."""
    above = scores[: policy.most] > policy.stop_above
    end = int(above.argmax()) + 1 if above.any() else len(scores)
    place = int(scores[:end].argmax())
    if scores[0] < 0.05:
        choice = policy.choose([(scores[i : i + 1], scores[i : i + 1]) for i in range(len(scores))])
        assert choice is not None
        assert choice.place == place
    return place


# Cost and accuracy


def solution(*confidence: float, wrong: bool = False, cost: float = 1.0) -> SampledSolution:
    values = np.array(confidence)
    return SampledSolution(values, values, wrong, cost)


PROBLEMS = [
    [solution(0.9, cost=10), solution(0.95, wrong=True, cost=20)],
    [solution(0.3, wrong=True, cost=10), solution(0.6, cost=30)],
    [],
    [solution(0.2, wrong=True, cost=10), solution(0.1, wrong=True, cost=10)],
]


def test_a_curve_counts_what_was_looked_at() -> None:
    first, best, early = cost_curve(PROBLEMS, [Policy(1), Policy(2), Policy(2, stop_above=0.8)])
    assert (first.cost, best.cost, early.cost) == (30 / 4, 90 / 4, 70 / 4)
    assert (first.handed_out, first.accuracy) == (3 / 4, pytest.approx(1 / 3))
    assert (best.handed_out, best.accuracy) == (3 / 4, pytest.approx(1 / 3))
    assert early.accuracy == pytest.approx(2 / 3)
    assert early.wrong_and_handed_out == 1 / 4


def test_a_curve_hands_out_the_best_first() -> None:
    some, none, everything = cost_curve(PROBLEMS, [Policy(2, stop_above=0.8)], [0.5, 0.1, 1.0])
    assert (some.handed_out, some.accuracy, some.cutoff) == (0.5, 1.0, 0.2)
    assert none.handed_out == 0.0
    assert math.isnan(none.accuracy)
    assert everything.cutoff == -math.inf
    assert json.loads(json.dumps(none.to_json(), allow_nan=False))["accuracy"] is None
    assert cheapest_at_accuracy([everything, some], 0.9) == some
    assert cheapest_at_accuracy([everything, some], 0.9, handed_out=0.9) is None


def test_a_curve_of_nothing_is_empty_figures() -> None:
    (point,) = cost_curve([], [Policy(1)])
    assert (point.cost, point.handed_out) == (0.0, 0.0)
    assert math.isnan(point.accuracy)

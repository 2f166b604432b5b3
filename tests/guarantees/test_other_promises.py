"""The promises of the monitor and of selective use as certificates: stored, checked, and the same in any order."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificate_samples import chain, problem
from surestep.errors import ConfigError
from surestep.guarantees import Judging, ScoredProblem
from surestep.guarantees.certificate import ALL, Certificate, MadeFor
from surestep.guarantees.certified import uncovered
from surestep.guarantees.monitoring import STATISTICS
from surestep.guarantees.promises import PROMISES
from surestep.guarantees.promises.handed_out import rule_of
from surestep.guarantees.promises.watched import monitor_of
from surestep.guarantees.terms import Terms

OTHERS = ("monitor", "selective")
some_terms = st.builds(
    Terms,
    st.sampled_from(OTHERS),
    alpha=st.sampled_from([0.1, 0.3, 0.6]),
    judging=st.builds(
        Judging,
        st.sampled_from(["product", "min"]),
        st.sampled_from([0.5, 1.0]),
        st.sampled_from(["ignore", "wrong"]),
    ),
    policy=st.sampled_from(["min", "mean"]),
    most=st.sampled_from([None, 1, 2]),
    stop_above=st.sampled_from([None, 0.5]),
    escalate_above=st.sampled_from([None, 0.0, 0.3]),
    statistic=st.sampled_from(list(STATISTICS)),
    seed=st.integers(0, 3),
)


def problems(seed: int, count: int = 40) -> list[ScoredProblem]:
    random = np.random.default_rng(seed)
    return [problem(key, random, solutions=2) for key in range(count)]


def made(terms: Terms, found: list[ScoredProblem]) -> Certificate:
    rule = PROMISES[terms.promise].make_rule(found, terms)
    return Certificate(terms, {ALL: rule}, {}, MadeFor("", None, {}, ""), {})


@given(st.integers(0, 2**32 - 1), some_terms)
@settings(max_examples=25)
def test_a_certificate_survives_its_file_and_the_order_of_problems_changes_nothing(seed: int, terms: Terms) -> None:
    found = problems(seed)
    certificate = made(terms, found)
    values = json.loads(json.dumps(certificate.to_json(), allow_nan=False))
    again = Certificate.from_json(values)
    assert again.to_json() == certificate.to_json()
    assert again.terms == terms
    other = made(terms, found[::-1]).rules[ALL]
    rule = certificate.rules[ALL]
    assert (other.cutoff, other.critical.n, other.num_wrong) == (rule.cutoff, rule.critical.n, rule.num_wrong)
    assert certificate.promise.sentence(terms)
    lines = certificate.promise.lines(terms, rule)
    assert lines is not None
    assert all(sentence for _, sentence in lines)


@pytest.mark.parametrize("promise", OTHERS)
def test_a_larger_alpha_stops_or_hands_out_as_much(promise: str) -> None:
    found = problems(5, 120)
    cuts = [made(Terms(promise, alpha=alpha), found).rules[ALL].cutoff for alpha in (0.05, 0.1, 0.3, 0.6)]
    assert cuts == sorted(cuts, reverse=True)


@pytest.mark.parametrize(
    ("promise", "path", "value"),
    [
        *((one, ("facts", one), None) for one in OTHERS),
        *((one, ("facts", one, "alpha"), 0.5) for one in OTHERS),
        *((one, ("facts", one, "format_version"), 9) for one in OTHERS),
        *((one, ("cutoff",), "0.123") for one in OTHERS),
        ("selective", ("facts", "scores_only"), "x"),
        ("selective", ("facts", "policy"), "the first solution"),
        ("monitor", ("facts", "problems"), None),
    ],
    ids=str,
)
def test_a_rule_that_is_not_of_its_terms_is_refused(promise: str, path: tuple[str, ...], value: Any) -> None:
    values = copy.deepcopy(made(Terms(promise, alpha=0.3), problems(3)).to_json())
    place: Any = values["rules"][ALL]
    for name in path[:-1]:
        place = place[name]
    assert path[-1] in place
    place[path[-1]] = value
    with pytest.raises(ValueError, match=r"."):
        Certificate.from_json(values)


def test_what_is_kept_of_a_solution_is_none_of_their_business() -> None:
    assert "stopping" in uncovered(made(Terms("monitor"), problems(1)), None, use="solution")
    assert "this policy" in uncovered(made(Terms("selective"), problems(1)), None, use="best", policy="min", count=2)


def test_nothing_to_learn_from_promises_nothing() -> None:
    for promise in OTHERS:
        rule = PROMISES[promise].make_rule([], Terms(promise))
        assert not rule.exists
        assert "no rule at" in PROMISES[promise].why_no_rule(Terms(promise), rule)
    unjudged = [ScoredProblem(i, (chain(np.array([0.9]), np.array([math.nan])),)) for i in range(30)]
    assert monitor_of(PROMISES["monitor"].make_rule(unjudged, Terms("monitor"))).num_problems == 0
    assert rule_of(PROMISES["selective"].make_rule(unjudged, Terms("selective"))).num_problems == 0


def test_the_cutoffs_that_are_tested_come_from_other_problems() -> None:
    """Changing labels, or scores of the tested ones, changes no cut-off of the sequence beyond how many there are."""
    random = np.random.default_rng(2)
    found = [problem(key, random) for key in range(100)]
    rule = PROMISES["selective"].make_rule(found, Terms("selective", alpha=0.3))
    assert rule.facts["scores_only"] + rule.critical.n == 100
    assert 8 < rule.facts["scores_only"] < 35
    flipped = [
        ScoredProblem(one.key, tuple(type(t)(t.parent, t.confidence, t.raw, 1 - t.label) for t in one.trees))
        for one in found
    ]
    other = PROMISES["selective"].make_rule(flipped, Terms("selective", alpha=0.3))
    assert rule_of(other).sequence == rule_of(rule).sequence


def test_a_policy_that_looks_at_some_looks_in_a_random_order_that_is_frozen() -> None:
    solutions = tuple(chain(np.array([0.1 + n / 100]), np.array([1.0])) for n in range(8))
    first = Terms(most=1)
    places = []
    for key in range(200):
        one = ScoredProblem(key, solutions)
        taken = first.taken(one)
        assert taken is not None
        places.append(round((float(taken[0].raw[0]) - 0.1) * 100))
        again = first.taken(one)
        assert again is not None
        assert again[0] is taken[0]
    assert np.bincount(places, minlength=8).min() > 8, "each solution has its turn"
    best = Terms().taken(ScoredProblem(1, solutions))
    assert best is not None
    assert best[0] is solutions[7]


@pytest.mark.parametrize(
    "wrong",
    [
        {"promise": "monitor", "delta": 0.1},
        {"promise": "monitor", "judging": Judging(loss="soft")},
        {"promise": "selective", "judging": Judging(loss="soft")},
        {"statistic": "ville"},
        {"most": 0},
        {"stop_above": 1.5},
        {"escalate_above": -0.1},
    ],
    ids=str,
)
def test_terms_that_contradict_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="allowed"):
        Terms(**wrong)

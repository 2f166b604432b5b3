"""The promises end to end on made problems: their risk, the traps, and what a certificate remembers."""

from __future__ import annotations

import math
import random as random_module
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificate_samples import chain, chains, problem
from mutations import mutated_values
from surestep.errors import ConfigError
from surestep.guarantees import Judging, ScoredProblem, cutoff, order
from surestep.guarantees.certificate import ALL, Certificate, MadeFor
from surestep.guarantees.certified import certified_part, uncovered
from surestep.guarantees.critical_values import of_path, of_tree
from surestep.guarantees.cutoff import cutoff_with_room, leave_one_out_cutoffs
from surestep.guarantees.promises import PROMISES
from surestep.guarantees.promises.promise import Rule, no_rule
from surestep.guarantees.terms import Terms

NOTHING = MadeFor("", None, {}, "")


KEPT_PARTS = ("chosen", "random", "tree")


def rule_of(problems: list[ScoredProblem], terms: Terms) -> Rule:
    return PROMISES[terms.promise].make_rule(problems, terms)


def loses(one: ScoredProblem, c: float, judging: Judging) -> bool:
    """Whether anything wrong is kept of a problem with one solution."""
    values, _ = of_tree(one, judging)
    return bool((values > c).any())


@pytest.mark.slow
@pytest.mark.parametrize("rounded", [False, True], ids=["distinct scores", "ties"])
def test_the_risk_of_a_chosen_path_is_that_of_its_rank(rounded: bool) -> None:
    """Section by section: 60 calibration sets of 50 problems, each judged on 25 new ones."""
    random = np.random.default_rng(7)
    terms = Terms(alpha=0.1, judging=Judging(score="min"), policy="min")
    pool = [problem(key, random, rounded=rounded) for key in range(4_500)]
    critical = np.array([max(of_tree(one, terms.judging)[0], default=-math.inf) for one in pool])
    risks = []
    for draw in range(60):
        own = critical[75 * draw : 75 * draw + 75]
        c = cutoff(own[:50], np.ones(50), 50, 0.1)
        risks.append((own[50:] > c).mean())
    expected, error = order(0.1, 50) / 51, float(np.std(risks)) / math.sqrt(len(risks))
    assert np.mean(risks) < expected + 4 * error
    if not rounded:
        assert abs(np.mean(risks) - expected) < 4 * error
    rule = rule_of(pool[:50], terms)
    assert rule.cutoff == cutoff(critical[:50], np.ones(50), 50, 0.1)
    assert rule.expected_risk(terms) == pytest.approx(5 / 51)


@pytest.mark.slow
def test_pooled_solutions_break_the_promise_and_the_product_does_not_pool() -> None:
    """Easy problems with 20 solutions, hard ones with 2: the trap that section 4 of the specification measures."""
    random = np.random.default_rng(3)
    judging, alpha, n = Judging(score="min"), 0.1, 60
    terms = Terms("random", alpha=alpha, judging=judging, policy="min")
    easy_or_hard = [
        problem(key, random, solutions=2 if key % 2 else 20, error=0.35 if key % 2 else 0.03) for key in range(480)
    ]
    values = [[of_path(tree, path, judging)[0] for tree in one.trees for path in tree.paths()] for one in easy_or_hard]
    flat = [np.array([max(v, default=-math.inf) for v in of_problem]) for of_problem in values]
    pooled, promised = [], []
    for start in range(0, 480, 80):
        calibration, new = flat[start : start + n], flat[start + n : start + 80]
        together = np.concatenate(calibration)
        naive = cutoff(together, np.ones(together.size), together.size, alpha)
        own = rule_of(easy_or_hard[start : start + n], terms).cutoff
        pooled.append(np.mean([(one > naive).mean() for one in new]))
        promised.append(np.mean([(one > own).mean() for one in new]))
    assert np.mean(pooled) > 0.17
    assert np.mean(promised) < alpha + 4 * np.std(promised) / math.sqrt(len(promised))


def test_a_tree_promise_covers_any_choice_and_keeps_less() -> None:
    random = np.random.default_rng(11)
    problems = [problem(key, random, solutions=4) for key in range(60)]
    rules = {name: rule_of(problems, Terms(name, alpha=0.2)) for name in ("chosen", "random", "tree")}
    assert rules["tree"].cutoff >= max(rules["chosen"].cutoff, rules["random"].cutoff)
    for rule in rules.values():
        assert rule.facts["solutions"] == [4, 4]
        assert set(rule.kept) == {"right_steps", "something", "everything", "wrong_where_something"}


@given(st.integers(0, 2**32 - 1), st.sampled_from(KEPT_PARTS), st.sampled_from([0.05, 0.2, 0.5]))
@settings(max_examples=30)
def test_the_order_of_problems_and_of_their_trees_changes_no_rule(seed: int, promise: str, alpha: float) -> None:
    random = np.random.default_rng(seed)
    problems = [ScoredProblem(key, tuple(chains(random, solutions=2) for _ in range(1 + key % 2))) for key in range(12)]
    if promise == "random":  # the drawn solution goes by its number within the problem
        shuffled = [problems[i] for i in random.permutation(12)]
    else:
        shuffled = [replace(problems[i], trees=problems[i].trees[::-1]) for i in random.permutation(12)]
    one, two = (rule_of(listed, Terms(promise, alpha=alpha)) for listed in (problems, shuffled))
    assert one.cutoff == two.cutoff
    assert one.kept == pytest.approx(two.kept)


pairs = st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.9]), st.sampled_from([0.5, 0.25]))


@given(st.lists(st.lists(pairs, max_size=2), min_size=1, max_size=9), st.sampled_from([-0.5, 0.0, 0.4, 1.0, 2.5]))
def test_the_left_out_cutoffs_are_those_without_the_problem(
    problems: list[list[tuple[float, float]]], allowed: float
) -> None:
    values = np.array([v for one in problems for v, _ in one])
    weights = np.array([w for one in problems for _, w in one])
    owner = np.array([i for i, one in enumerate(problems) for _ in one], np.int64)
    found = leave_one_out_cutoffs(values, weights, owner, len(problems), allowed)
    expected = [cutoff_with_room(values[owner != i], weights[owner != i], allowed) for i in range(len(problems))]
    assert found.tolist() == expected


def test_what_nobody_judged_says_nothing_and_is_no_clean_problem() -> None:
    judged = [ScoredProblem(i, (chain(np.array([0.9]), np.array([1.0])),)) for i in range(9)]
    silent = ScoredProblem(9, (chain(np.array([0.9]), np.array([np.nan])),))
    empty = ScoredProblem(10, (chain(np.zeros(0), np.zeros(0)),))
    for promise in KEPT_PARTS:
        assert rule_of([*judged, silent, empty], Terms(promise)).critical.n == 9
        counted = Terms(promise, judging=Judging(unlabelled="wrong"))
        assert rule_of([*judged, silent], counted).num_wrong == 1


def test_no_problem_promises_nothing_and_says_how_many_are_needed() -> None:
    for promise in KEPT_PARTS:
        rule = rule_of([], Terms(promise))
        assert (rule.exists, rule.cutoff, rule.critical.n) == (False, math.inf, 0)
        assert rule.kept["something"] is None
    assert no_rule(Terms(alpha=0.05), 12).startswith("no rule at 0.05: needs 19 problems, has 12")
    assert "needs 22 problems" in no_rule(Terms(alpha=0.1, delta=0.1), 12)


def test_the_kept_shares_are_those_of_left_out_problems() -> None:
    """Against a plain loop."""
    random = np.random.default_rng(2)
    terms = Terms(alpha=0.2, judging=Judging(score="min"), policy="min")
    problems = [problem(key, random) for key in range(40)]
    rule = rule_of(problems, terms)
    kept = clean = something = everything = 0
    for i, one in enumerate(problems):
        c = rule_of(problems[:i] + problems[i + 1 :], terms).cutoff
        tree = one.trees[0]
        g, right = np.minimum.accumulate(tree.raw), np.cumprod(np.nan_to_num(tree.label)).astype(bool)
        kept, clean = kept + (g[right] > c).sum(), clean + right.sum()
        something, everything = something + (g > c).any(), everything + (g > c).all()
    assert rule.kept["right_steps"] == pytest.approx(kept / clean)
    assert rule.kept["something"] == pytest.approx(something / 40)
    assert rule.kept["everything"] == pytest.approx(everything / 40)
    assert rule.kept["wrong_where_something"] == pytest.approx(8 / 41 / (something / 40))


@given(st.integers(0, 2**32 - 1), st.sampled_from(KEPT_PARTS), st.sampled_from([0.02, 0.2, 0.6]), st.booleans())
@settings(max_examples=30)
def test_a_certificate_survives_its_file(seed: int, promise: str, alpha: float, soft: bool) -> None:
    random = np.random.default_rng(seed)
    terms = Terms(promise, alpha=alpha, judging=Judging(loss="soft" if soft else "wrong_step"))
    rule = rule_of([problem(key, random, solutions=2) for key in range(10)], terms)
    certificate = Certificate(terms, {ALL: rule}, {}, NOTHING, {"precision": "float32"})
    again = Certificate.from_json(certificate.to_json())
    assert again.to_json() == certificate.to_json()
    assert again.rules[ALL].cutoff == rule.cutoff
    assert again.terms == terms


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format_version": 2}, "format version 2"),
        ({"strict": False}, "strict"),
        ({"groups": {"a": "b"}}, "without the rule of 'b'"),
        ({"terms": {}}, "missing"),
        ({"rules": {}}, "without the rule of 'all'"),
    ],
)
def test_a_broken_certificate_is_refused_in_one_sentence(change: dict[str, object], words: str) -> None:
    terms = Terms()
    rule = rule_of([problem(key, np.random.default_rng(key)) for key in range(10)], terms)
    values = Certificate(terms, {ALL: rule}, {}, NOTHING).to_json() | change
    with pytest.raises(ValueError, match=words):
        Certificate.from_json(values)


def test_a_rule_whose_columns_do_not_fit_is_refused() -> None:
    terms = Terms()
    rule = rule_of([problem(key, np.random.default_rng(key)) for key in range(10)], terms)
    for name, value, words in (
        ("weights", [], "differ in length"),
        ("problem", [99] * rule.critical.values.size, "beyond the number"),
        ("facts", {"solutions": ["1", 2]}, "two whole numbers"),
        ("cutoff", "nan", "cutoff"),
    ):
        values = Certificate(terms, {ALL: rule}, {}, NOTHING).to_json()
        values["rules"][ALL][name] = value
        with pytest.raises(ValueError, match=words):
            Certificate.from_json(values)


@pytest.mark.parametrize("promise", ["chosen", "random", "tree"])
def test_a_changed_certificate_is_refused_or_can_be_used(promise: str) -> None:
    """Whatever one value of the file becomes: one sentence, or a certificate that answers everything asked of it."""
    rng, numbers = random_module.Random(1), np.random.default_rng(1)
    terms = Terms(promise, alpha=0.3)
    rule = rule_of([problem(key, numbers, solutions=2) for key in range(10)], terms)
    values = Certificate(terms, {ALL: rule}, {}, NOTHING, {"left_out": {"x": 1}, "seen": None}).to_json()
    refusals = []
    for _ in range(300):
        try:
            certificate = Certificate.from_json(mutated_values(values, rng))
        except (ValueError, ConfigError) as error:
            refusals.append(str(error))
            continue
        found = certificate.rule_for(None)
        assert certificate.needs_map in (True, False)
        assert certificate.promise.sentence(certificate.terms)
        assert isinstance(uncovered(certificate, None, use="best", policy="product", count=2), str)
        if found is not None:
            certified_part(certificate, found, [0.9, 0.5], [0.9, 0.5])
    assert len(refusals) > 100
    assert not any("\n" in refusal for refusal in refusals)


def test_terms_out_of_range_are_all_named() -> None:
    with pytest.raises(ConfigError) as caught:
        Terms(alpha=0.0, delta=1.0, judging=Judging(wrong_below=0.0), policy="best")
    assert len(caught.value.problems) == 4


def test_the_certified_part_is_what_the_rule_keeps_and_its_levels_say_the_same() -> None:
    random = np.random.default_rng(5)
    terms = Terms("random", alpha=0.3)
    rule = rule_of([problem(key, random) for key in range(40)], terms)
    certificate = Certificate(terms, {ALL: rule}, {}, NOTHING)
    for _ in range(50):
        scores = random.random(6).tolist()
        part = certified_part(certificate, rule, scores, scores)
        assert part.num_kept == (np.cumsum(np.log(scores)) > rule.cutoff).sum()
        assert [level <= 0.3 for level in part.levels] == [step < part.num_kept for step in range(6)]
    assert certified_part(certificate, rule, [0.99, None, 0.99], [0.99, None, 0.99]).num_kept <= 1
    assert certified_part(certificate, rule, [], []).num_kept == 0


def test_a_promise_covers_only_what_it_was_calibrated_for() -> None:
    random = np.random.default_rng(5)
    alone = [problem(key, random) for key in range(10)]
    four = [problem(key, random, solutions=4) for key in range(10)]

    def reason(promise: str, problems: list[ScoredProblem], **use: object) -> str:
        terms = Terms(promise, alpha=0.2, policy="min")
        certificate = Certificate(terms, {ALL: rule_of(problems, terms)}, {}, NOTHING)
        return uncovered(certificate, None, **use)  # type: ignore[arg-type]

    assert reason("chosen", alone, use="solution") == ""
    assert "only solution" in reason("chosen", alone, use="best", policy="min", count=4)
    assert reason("chosen", four, use="best", policy="min", count=4) == ""
    assert "not by product" in reason("chosen", four, use="best", policy="product", count=4)
    assert "not of 8" in reason("chosen", four, use="best", policy="min", count=8)
    assert "not for one as it is" in reason("chosen", four, use="solution")
    assert reason("random", four, use="solution") == ""
    assert "chosen" in reason("random", four, use="best", policy="min", count=4)
    assert reason("tree", four, use="best", policy="last", count=3) == ""
    assert "at most 4" in reason("tree", four, use="best", policy="min", count=5)


def test_with_groups_a_problem_of_no_group_is_not_covered() -> None:
    terms = Terms("random", alpha=0.2)
    rule = rule_of([problem(key, np.random.default_rng(key)) for key in range(10)], terms)
    certificate = Certificate(terms, {"gsm8k": rule}, {"gsm8k": "gsm8k"}, NOTHING)
    assert uncovered(certificate, "gsm8k", use="solution") == ""
    assert "not of math" in uncovered(certificate, "math", use="solution")
    assert "unnamed" in uncovered(certificate, None, use="solution")

"""After certifying: the martingale on scores, the audit on labels, and what each of them does not say."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.guarantees import beta_quantile, order
from surestep.guarantees.shift import LabelledAudit, ScoreMartingale

scores = st.lists(st.one_of(st.floats(-5, 5), st.sampled_from([0.0, 1.0])), max_size=30)
losses = st.lists(st.sampled_from([0.0, 0.5, 1.0]), max_size=30)


def test_p_values_are_uniform_and_independent_where_nothing_changes() -> None:
    random = np.random.default_rng(2)
    first, second = [], []
    for seed in range(800):
        game = ScoreMartingale(tuple(random.integers(0, 4, 12).astype(float).tolist()), seed=seed)
        one, other = (game.add(float(score)) for score in random.integers(0, 4, 2))
        first.append(one)
        second.append(other)
    for values in (first, second):
        assert abs(np.mean(values) - 0.5) < 4 * 0.2887 / math.sqrt(800), "ties are broken evenly"
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / math.sqrt(800), "the bag grows"


def test_without_a_change_few_streams_ever_warn_and_with_one_most_do() -> None:
    random = np.random.default_rng(3)

    def warned(shift: float, number: int) -> float:
        games = []
        for seed in range(number):
            game = ScoreMartingale(tuple(random.standard_normal(100).tolist()), seed=seed)
            for score in random.standard_normal(100) + shift:
                game.add(float(score))
            games.append(game.warns)
        return float(np.mean(games))

    assert warned(0.0, 60) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 60)
    assert warned(1.0, 20) > 0.8
    assert warned(-1.0, 20) > 0.8


def test_a_game_that_is_stored_in_the_middle_goes_on_alike() -> None:
    random = np.random.default_rng(5)
    reference, stream = tuple(random.random(30).tolist()), [*(random.random(40) + 0.3).tolist(), math.nan]
    whole = ScoreMartingale(reference, seed=4)
    part = ScoreMartingale(reference, seed=4)
    for score in stream:
        whole.add(score)
    for score in stream:
        part = ScoreMartingale.from_json(json.loads(json.dumps(part.to_json(), allow_nan=False)))
        part.add(score)
    assert part == whole
    assert part.unscored == 1


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=20), scores)
def test_the_capital_stays_positive_and_the_shares_whole(reference: list[float], new: list[float]) -> None:
    game = ScoreMartingale(tuple(reference))
    for score in new:
        assert 0.0 <= game.add(score) <= 1.0
    assert game.capital > 0.0
    assert sum(game.to_json()["shares"]) == pytest.approx(1.0)
    assert game.log_highest >= max(0.0, game.log_capital)


def test_silence_is_not_sold_as_safety() -> None:
    game = ScoreMartingale((0.1, 0.2))
    game.add(0.15)
    assert "says nothing about labels" in game.in_words()
    loud = ScoreMartingale(tuple(np.linspace(0, 1, 50).tolist()))
    for number in range(200):
        loud.add(2.0 + number)
    assert loud.warns
    assert "not exchangeable" in loud.in_words()
    assert "only labels can say" in loud.in_words()
    assert "without labels nothing is known" in LabelledAudit(5, 50).in_words()
    quiet = LabelledAudit(5, 50)
    quiet.add(0.0)
    assert "no proof of safety" in quiet.in_words()


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": 0},
        {"reference": []},
        {"new": ["x"]},
        {"shares": [1.0]},
        {"seed": None},
        {"reference": [math.inf]},
    ],
    ids=str,
)
def test_a_damaged_game_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        ScoreMartingale.from_json(ScoreMartingale((0.5,)).to_json() | change)


# The audit


def test_it_tests_against_what_chance_in_calibration_explains() -> None:
    audit = LabelledAudit(order(0.1, 200), 200)
    assert audit.tolerated == beta_quantile(0.95, 20, 200)
    assert 0.13 < audit.tolerated < 0.14


def test_it_seldom_warns_where_the_promise_holds_and_mostly_where_it_is_far_from_it() -> None:
    random = np.random.default_rng(6)
    k = order(0.1, 200)

    def warned(risk: float) -> float:
        count = 0
        for _ in range(60):
            audit = LabelledAudit(k, 200)
            for loss in random.random(200) < risk:
                audit.add(float(loss))
            count += audit.warns
        return count / 60

    assert warned(beta_quantile(0.95, k, 200)) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 60)
    assert warned(0.1) < 0.02
    assert warned(0.36) > 0.98


def test_the_wealth_is_the_mean_of_the_products() -> None:
    audit = LabelledAudit(20, 200)
    losses = [1.0, 0.0, 0.5, 1.0]
    for loss in losses:
        audit.add(loss)
    a = audit.tolerated
    plain = np.mean([math.prod(1 + b * (loss - a) for loss in losses) for b in (0.5, 1.0, 2.0, 3.0)])
    assert audit.wealth == pytest.approx(plain)


@given(losses, st.sampled_from([(1, 4), (5, 50), (40, 50), (50, 50)]))
def test_an_audit_that_is_stored_goes_on_alike_and_never_loses_everything(
    stream: list[float], size: tuple[int, int]
) -> None:
    whole, part = LabelledAudit(*size), LabelledAudit(*size)
    for loss in stream:
        assert whole.add(loss) > 0.0
        part = LabelledAudit.from_json(json.loads(json.dumps(part.to_json(), allow_nan=False)))
        part.add(loss)
    assert part == whole


@pytest.mark.parametrize("size", [(0, 10), (11, 10), (-1, 3)])
def test_an_audit_without_a_rule_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="allowed: 1 to"):
        LabelledAudit(*size)


def test_damaged_audits_and_losses_are_refused() -> None:
    audit = LabelledAudit(5, 50)
    for loss in (math.nan, -0.1, 1.1):
        with pytest.raises(ValueError, match="allowed: 0 to 1"):
            audit.add(loss)
    for change in ({"format_version": 0}, {"log_wealth": [0.0]}, {"k": 0}, {"n": "x"}):
        with pytest.raises(ValueError, match=r"."):
            LabelledAudit.from_json(audit.to_json() | change)

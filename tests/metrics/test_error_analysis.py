"""Where a scorer fails: groups that add up, raters told from the model, and nothing concluded from few problems."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.metrics.error_analysis.raters import raters_section
from surestep.metrics.error_analysis.ratings import rating_scale, rating_variance
from surestep.metrics.error_analysis.section import TABLES, TextFacts, error_analysis
from surestep.metrics.error_analysis.wording import error_lines, sentences
from surestep.scored import ScoredSteps

KINDS = ("arithmetic", "algebra", "text")


def made(
    num_problems: int, per_problem: int = 6, *, seed: int = 0, ratings: int = 1, too_high: float = 0.0
) -> tuple[ScoredSteps, TextFacts]:
    """Steps whose ratings are drawn from known chances; algebra is scored too high by `too_high`."""
    rng = np.random.default_rng(seed)
    count = num_problems * per_problem
    kind = rng.integers(0, 3, count)
    chance = rng.uniform(0.1, 0.9, count)
    label = rng.binomial(ratings, chance) / ratings
    confidence = np.clip(chance + too_high * (kind == 1), 0.0, 1.0)
    steps = ScoredSteps.of_columns(
        confidence,
        label,
        problem=np.repeat(np.arange(num_problems), per_problem),
        position=np.tile(np.arange(1, per_problem + 1), num_problems),
    )
    steps = replace(steps, num_ratings=np.full(count, ratings))
    return steps, TextFacts(KINDS, kind.astype(np.int64), rng.integers(1, 400, count).astype(np.int64))


def section_of(*arguments: Any, resamples: int = 100, **others: Any) -> dict[str, Any]:
    found = error_analysis(*arguments, resamples=resamples, seed=1, **others)
    json.dumps(found, allow_nan=False)
    section: dict[str, Any] = found["per_dataset"]["all"]
    return section


@given(st.integers(1, 12), st.integers(1, 7), st.integers(0, 5))
def test_groups_add_up_to_the_whole(num_problems: int, per_problem: int, seed: int) -> None:
    steps, facts = made(num_problems, per_problem, seed=seed, too_high=0.2)
    section = section_of(steps, facts, resamples=0)
    for table in TABLES[:3]:
        rows = section[table]
        assert sum(row["num_steps"] for row in rows) == len(steps)
        assert sum(row["share_of_error"] for row in rows) == pytest.approx(float(section["mse"] > 0.0))
        assert sum(row["num_steps"] * row["mse"] for row in rows) == pytest.approx(section["mse"] * len(steps))
        assert sum(row["num_steps"] * row["calibration_in_the_large"] for row in rows) == pytest.approx(
            (steps.confidence - steps.label).sum()
        )
        assert all(row["few_problems"] for row in rows)
    assert section["left_out"]["by_agreement"] == "no step with a label was rated more than once"


def test_the_kind_that_is_scored_too_high_is_said_with_enough_problems_and_not_with_few() -> None:
    section = section_of(*made(200, too_high=0.3))
    said = sentences("all", section)
    (too_high,) = [line for line in said if line.startswith("By kind of step, scored too high")]
    assert "algebra (by 0.2" in too_high
    assert any("groups were looked at" in line for line in said)
    few = sentences("all", section_of(*made(12, too_high=0.3)))
    assert few[0].startswith("12 problems are too few to say where the model fails (at least 30 are needed)")
    assert not any("95 % interval" in line for line in few)


def test_intervals_are_the_draws_of_the_one_bootstrap() -> None:
    steps, facts = made(60)
    row = next(row for row in section_of(steps, facts)["by_kind"] if row["kind"] == "algebra")
    alone = error_analysis(steps, facts, resamples=100, seed=1)["per_dataset"]["all"]["by_kind"]
    assert row in alone, "the same seed, the same draws"
    low, high = (row["intervals"]["mse"][end] for end in ("low", "high"))
    assert low < row["mse"] < high


@given(
    st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=7),
    st.sampled_from([(0.0, 0.5, 1.0), (), (0.0, 0.25, 0.5, 0.75, 1.0)]),
)
def test_the_variance_of_any_ratings_lies_within_the_bounds_of_their_mean_and_count(
    ratings: list[float], scale: tuple[float, ...]
) -> None:
    label, count = np.array([np.mean(ratings)]), np.array([len(ratings)])
    low, high = rating_variance(label, count, scale)
    assert low[0] - 1e-9 <= np.var(ratings, ddof=1) <= high[0] + 1e-9


def test_one_rating_has_no_variance_and_many_values_are_no_scale() -> None:
    label = np.linspace(0.0, 1.0, 40)
    assert rating_scale(label, np.ones(40, int)) == ()
    low, high = rating_variance(np.array([0.5, 0.3]), np.array([1, 0]), ())
    assert np.isnan(low).all()
    assert np.isnan(high).all()


@pytest.mark.parametrize("ratings", [2, 5])
def test_the_raters_part_is_found_whatever_the_model(ratings: int) -> None:
    """With ratings drawn from known chances c, E v / k is the mean of c (1 - c) / k; a perfect model has no part."""
    for too_high in (0.0, 0.3):
        steps, _ = made(400, seed=3, ratings=ratings, too_high=too_high)
        # Ratings are 0 or 1: a step rated once says so.
        once = replace(made(2, seed=4)[0], problem=made(2)[0].problem)
        joined = ScoredSteps.joined([steps, once])
        found = section_of(joined, None)["raters"]
        assert found["num_steps"] == len(steps)
        chance_noise = (0.5 - (0.9**3 - 0.1**3) / (3 * 0.8)) / ratings  # E c (1 - c) of c uniform in [0.1, 0.9], over k
        assert found["of_raters"]["low"] == pytest.approx(chance_noise, abs=0.006)
        assert found["of_raters"]["low"] == found["of_raters"]["high"]
        assert found["mse"] == pytest.approx(found["of_raters"]["low"] + found["of_model"]["low"])
        interval = found["of_model"]["interval"]
        assert (interval["low"] > 0.0) == (too_high > 0.0)


def test_counted_conflicts_settle_what_mean_and_count_leave_open() -> None:
    steps = replace(
        ScoredSteps.of_columns([0.4] * 4, [0.0, 0.5, 1.0, 0.5], problem=list("abcd")),
        num_ratings=np.array([1, 1, 1, 2]),
    )
    open_ = section_of(steps, None)["raters"]
    assert (open_["of_raters"]["low"], open_["of_raters"]["high"]) == (0.0, 0.25)
    twice = ScoredSteps.of_columns([0.4] * 6, [0.0, 0.5, 0.5, 0.5, 0.5, 1.0], problem=list("abcdef"))
    twice = replace(twice, num_ratings=np.array([1, 1, 2, 2, 2, 1]))
    one = section_of(twice, None, conflicts={"all": 1})["raters"]["of_raters"]
    assert one["high"] == pytest.approx(0.25 / 3), "of three steps that may differ, one did"
    settled = section_of(steps, None, conflicts={"all": 0})
    assert settled["raters"]["of_raters"]["high"] == 0.0
    assert [row["ratings"] for row in settled["by_agreement"]] == ["once", "rated again, alike"]
    assert any("copies of one rating" in line for line in sentences("all", settled))


def test_what_is_not_known_is_said() -> None:
    steps, _ = made(40)
    unknown = replace(steps, num_ratings=np.zeros(len(steps), int))
    section = section_of(unknown, None)
    assert section["left_out"] == {
        "by_kind": "the steps scored have no text",
        "by_length": "the steps scored have no text",
        "by_agreement": "how often each step was rated is not known",
    }
    assert "how often each step was rated is not known" in " ".join(sentences("all", section))
    nothing = error_analysis(steps.select(np.zeros(len(steps), bool)), None, resamples=10, seed=0)
    assert error_lines(nothing["per_dataset"]) == []
    low = np.full(len(steps), np.nan)
    assert "no step" in raters_section(steps, low, low, None)["left_out"]

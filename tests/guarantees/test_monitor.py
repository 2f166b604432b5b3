"""The monitor: right solutions are seldom stopped, whenever one looks; what it does not promise, it says."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.guarantees import Judging, ScoredProblem, ScoredTree, cutoff
from surestep.guarantees.monitoring import (
    STATISTICS,
    LowestStep,
    MixedRatio,
    Monitor,
    MonitorReading,
    RunningProduct,
    alarms_in_a_batch,
    calibrated_monitor,
    conformal_e_value,
    merged_e_value,
)
from surestep.guarantees.monitoring.running_statistics import (
    RunningStatistic,
    running_values,
    statistic_from_json,
    statistic_to_json,
)
from surestep.guarantees.monitoring.solutions import Found, found_by

ALL = [LowestStep(), RunningProduct(), MixedRatio(0.8, 0.2)]
by_name = pytest.mark.parametrize("statistic", ALL, ids=lambda one: one.name)
a_score = st.one_of(st.floats(0.0, 1.0), st.sampled_from([0.0, 0.5, 1.0]), st.just(math.nan))
solutions = st.lists(st.lists(a_score, max_size=6), max_size=25)
monitors = st.builds(
    lambda scores, alpha, statistic, many: Monitor.fit(
        scores, [number // many for number in range(len(scores))], alpha=alpha, statistic=statistic
    ),
    solutions,
    st.sampled_from([0.05, 0.1, 0.2, 0.29, 0.5]),
    st.sampled_from(ALL),
    st.integers(1, 3),
)


def of_16_steps(seed: int, count: int, *, icc: float, sharpened: float = 1.0) -> np.ndarray:
    """Scores of right solutions of as many problems, (count, 16); their steps' evidence goes together."""
    random = np.random.default_rng(seed)
    noise = math.sqrt(icc) * random.standard_normal((count, 1)) + math.sqrt(1 - icc) * random.standard_normal(
        (count, 16)
    )
    apart = 1.812  # an AUROC of 0.90
    prior = math.log(0.9 / 0.1)
    return 1.0 / (1.0 + np.exp(-(sharpened * apart * (apart / 2 + noise) + prior)))


@pytest.mark.parametrize(
    ("statistic", "icc", "sharpened"),
    [(LowestStep(), 0.0, 1.0), (LowestStep(), 0.6, 1.0), (RunningProduct(), 0.3, 1.0), (MixedRatio(), 0.3, 2.0)],
)
def test_false_alarms_come_as_often_as_k_of_n_plus_one(statistic: Any, icc: float, sharpened: float) -> None:
    """Twenty problems at 0.1: 2/21 = 0.0952, whatever the scores are worth and however they go together."""
    sets, n0, new = 2000, 20, 5
    scores = of_16_steps(5, sets * (n0 + new), icc=icc, sharpened=sharpened)
    largest = running_values(statistic, scores).max(axis=1).reshape(sets, n0 + new)
    cuts = np.array([cutoff(one[:n0], np.ones(n0), n0, 0.1) for one in largest])
    rate = (largest[:, n0:] > cuts[:, None]).mean(axis=1)
    assert abs(rate.mean() - 2 / 21) < 4 * rate.std() / math.sqrt(sets)
    one = Monitor.fit(list(scores[:n0]), list(range(n0)), alpha=0.1, statistic=statistic)
    assert one.threshold == cuts[0]
    assert [r.alarm is True for r in one.readings(scores[n0])][-1] == (largest[0, n0] > cuts[0])
    assert one.expected_false_alarms == pytest.approx(2 / 21)


def test_villes_threshold_does_not_hold_where_scores_are_sharpened() -> None:
    """Why 1/alpha is no threshold here."""
    ratio = MixedRatio(right_share=0.9, start_rate=0.1)
    scores = of_16_steps(7, 4000, icc=0.3, sharpened=2.0)
    rate = (running_values(ratio, scores).max(axis=1) > math.log(1 / 0.1)).mean()
    assert rate > 0.15


def test_a_quantile_at_every_step_does_not_hold() -> None:
    scores = of_16_steps(8, 4000, icc=0.3)
    assert (scores[2000:] < np.quantile(scores[:2000], 0.1, axis=0)).any(axis=1).mean() > 0.4


@pytest.mark.parametrize(("alpha", "needed"), [(0.05, 19), (0.1, 9), (0.2, 4)])
def test_below_the_fewest_problems_it_never_alarms_and_says_how_many_it_needs(alpha: float, needed: int) -> None:
    few = Monitor.fit([[0.9]] * (needed - 1), list(range(needed - 1)), alpha=alpha)
    (reading,) = few.readings([0.0])
    assert reading.alarm is False
    assert f"needs {needed} problems with a right solution, has {needed - 1}" in reading.note
    assert few.in_words() == f"no alarm: {few.why_no_alarm()}"
    enough = Monitor.fit([[0.9]] * needed, list(range(needed)), alpha=alpha)
    assert [reading.alarm for reading in enough.readings([0.0])] == [True]
    assert [reading.alarm for reading in enough.readings([0.9])] == [False]


def test_without_a_right_solution_it_never_alarms() -> None:
    never = Monitor.fit([], [], alpha=0.1)
    assert [reading.alarm for reading in never.readings([0.0] * 3)] == [False] * 3
    assert not never.can_alarm
    assert not any(reading.promised for reading in never.readings([0.0]))


def test_beyond_the_calibrated_length_it_promises_nothing_and_says_so() -> None:
    scores = of_16_steps(9, 50, icc=0.3)[:, :8]
    monitor = Monitor.fit(list(scores), list(range(50)), alpha=0.1)
    assert monitor.promised_until == 8
    assert "up to step 8" in monitor.in_words()
    *within, first, second = monitor.readings([0.99] * 8 + [0.0, 0.0])
    assert all(reading.promised and reading.alarm is False and not reading.note for reading in within)
    for reading in (first, second):
        assert reading.alarm is None
        assert reading.level is None
        assert not reading.promised
        assert "beyond the 8 steps of the longest calibrated solution" in reading.note
        assert "nothing is promised" in reading.note
    stopped = monitor.readings([0.0] + [0.99] * 9)
    assert all(reading.alarm is True for reading in stopped), "an alarm that was given stays"
    assert "the alarm came before" in stopped[-1].note


def test_longer_solutions_than_calibrated_are_not_stopped_more_often() -> None:
    """Going on to compare would: 0.26 for four times the length (section on pitfalls of the specification)."""
    old, new = of_16_steps(10, 200, icc=0.3)[:, :4], of_16_steps(11, 2000, icc=0.3)
    monitor = Monitor.fit(list(old), list(range(200)), alpha=0.1)
    on_and_on = (-new.min(axis=1) > monitor.threshold).mean()
    as_built = np.mean([monitor.readings(one)[-1].alarm is True for one in new[:400]])
    assert on_and_on > 0.18
    assert as_built < 0.15


@given(monitors, st.lists(a_score, max_size=8))
def test_step_by_step_is_the_same_as_at_once(monitor: Monitor, scores: list[float]) -> None:
    run = monitor.begin()
    for number, score in enumerate(scores, start=1):
        reading = run.add(score)
        assert reading.step == number
        assert run.fork().readings == run.readings
    assert list(run.readings) == monitor.readings(scores)
    values = running_values(monitor.statistic, np.array(scores)) if scores else np.zeros(0)
    assert run.largest == max(values, default=-math.inf)


@given(monitors, st.lists(a_score, max_size=8))
def test_an_alarm_stays_and_means_a_level_of_at_most_alpha(monitor: Monitor, scores: list[float]) -> None:
    readings = monitor.readings(scores)
    alarms = [reading.alarm is True for reading in readings]
    assert alarms == sorted(alarms)
    for reading in readings:
        if reading.promised:
            assert reading.level is not None
            assert reading.alarm == (reading.level <= monitor.alpha)
    levels = [reading.level for reading in readings if reading.level is not None]
    assert levels == sorted(levels, reverse=True)


@given(solutions, st.lists(a_score, max_size=6), st.sampled_from(ALL), st.integers(1, 3))
def test_a_larger_alpha_stops_at_least_what_a_smaller_one_stops(
    scores: list[list[float]], new: list[float], statistic: Any, many: int
) -> None:
    problem = [number // many for number in range(len(scores))]
    stopped = [
        [
            reading.alarm is True
            for reading in Monitor.fit(scores, problem, alpha=alpha, statistic=statistic, solutions="mean").readings(
                new
            )
        ]
        for alpha in (0.05, 0.1, 0.2, 0.5)
    ]
    for smaller, larger in pairwise(stopped):
        assert all(b or not a for a, b in zip(smaller, larger, strict=True))


@given(solutions, st.randoms(use_true_random=False), st.integers(1, 3), st.sampled_from(["drawn", "mean"]))
def test_the_order_of_problems_changes_nothing(scores: Any, random: Any, many: int, how: Any) -> None:
    groups = [scores[start : start + many] for start in range(0, len(scores), many)]
    keys = list(range(len(groups)))
    shuffled = random.sample(keys, len(keys))

    def fitted(order: list[int]) -> Monitor:
        pairs = [(one, key) for key in order for one in groups[key]]
        return Monitor.fit([one for one, _ in pairs], [key for _, key in pairs], alpha=0.2, solutions=how)

    one, other = fitted(keys), fitted(shuffled)
    assert one.threshold == other.threshold
    assert one.lengths == other.lengths
    assert one.readings([0.5, 0.1]) == other.readings([0.5, 0.1])


@given(solutions, st.lists(st.floats(0.0, 1.0), min_size=1, max_size=6))
def test_the_lowest_step_is_the_same_under_an_increasing_map(scores: list[list[float]], new: list[float]) -> None:
    # Steps of 1/64, so that the map keeps apart what was apart.
    coarse = [[round(score * 64) / 64 if score == score else score for score in one] for one in [*scores, new]]
    keys = list(range(len(scores)))
    plain = Monitor.fit(coarse[:-1], keys, alpha=0.2)
    cubed = Monitor.fit([np.array(one) ** 3 for one in coarse[:-1]], keys, alpha=0.2)
    assert plain.readings(coarse[-1]) == cubed.readings(np.array(coarse[-1]) ** 3)


@given(monitors)
def test_what_is_stored_comes_back_and_goes_on_alike(monitor: Monitor) -> None:
    again = Monitor.from_json(json.loads(json.dumps(monitor.to_json(), allow_nan=False)))
    assert again == monitor
    assert again.readings([0.3, 0.01]) == monitor.readings([0.3, 0.01])


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": 2},
        {"alpha": 1.5},
        {"statistic": {"name": "ville"}},
        {"statistic": {"name": "lowest_step", "more": 1}},
        {"statistic": {"name": "mixed_ratio", "right_share": 1.0}},
        {"largest": ["x"]},
        {"weights": []},
        {"num_problems": 7},
        {"threshold": 0.25},
        {"solutions": "all"},
        {"covers": "everything"},
        {"lengths": [1]},
        {"seed": None},
        {"alpha": 10**400},
    ],
    ids=str,
)
def test_a_damaged_monitor_is_refused(change: dict[str, Any]) -> None:
    values = Monitor.fit([[0.9]] * 20, list(range(20)), alpha=0.1).to_json()
    with pytest.raises(ValueError, match=r"."):
        Monitor.from_json(values | change)
    del values["weights"]
    with pytest.raises(ValueError, match="missing"):
        Monitor.from_json(values)


def test_a_reading_comes_back() -> None:
    monitor = Monitor.fit([[0.9, 0.8]] * 9, list(range(9)), alpha=0.1)
    for reading in monitor.readings([0.9, 0.1, 0.0]):
        assert MonitorReading.from_json(reading.step, json.loads(json.dumps(reading.to_json()))) == reading


def test_a_score_outside_its_range_is_refused() -> None:
    run = Monitor.fit([[0.9]] * 9, list(range(9)), alpha=0.1).begin()
    for wrong in (1.5, -0.1, math.inf):
        with pytest.raises(ValueError, match="allowed: 0 to 1"):
            run.add(wrong)
    assert run.readings == ()


@by_name
def test_statistics_come_back_from_files(statistic: RunningStatistic) -> None:
    assert statistic_from_json(statistic_to_json(statistic)) == statistic
    assert STATISTICS[statistic.name] is type(statistic)


def test_the_mixed_ratio_is_the_sum_over_its_starts() -> None:
    """Against the plain formula: Σ_j h (1 − h)^(j−1) Π_{u ≥ j} LR_u + (1 − h)^t."""
    statistic, scores = MixedRatio(0.8, 0.2), np.array([0.9, 0.3, 0.6, 0.2])
    ratio = (1 - scores) / scores * (0.8 / 0.2)
    for t in range(1, 5):
        mixed = sum(0.2 * 0.8 ** (j - 1) * ratio[j - 1 : t].prod() for j in range(1, t + 1)) + 0.8**t
        assert running_values(statistic, scores)[t - 1] == pytest.approx(math.log(mixed))


@by_name
def test_scores_of_zero_and_one_are_finite(statistic: RunningStatistic) -> None:
    assert np.isfinite(running_values(statistic, [0.0, 1.0] * 500)).all()


# Which solutions it is calibrated on


def chain(label: list[float], raw: list[float]) -> ScoredTree:
    parent = np.arange(len(label), dtype=np.int64) - 1
    return ScoredTree(parent, np.array(raw) / 2, np.array(raw), np.array(label, np.float64))


def test_only_right_solutions_count_and_what_is_left_out_is_counted() -> None:
    nan = math.nan
    problems = [
        ScoredProblem(1, (chain([1, 1], [0.9, 0.8]), chain([1, 0, nan], [0.9, 0.1, 0.7]))),
        ScoredProblem(2, (chain([nan, 1, 0.5], [0.6, nan, 0.7]),)),
        ScoredProblem(3, (chain([nan, nan], [0.1, 0.1]),)),
        ScoredProblem(4, ()),
    ]
    monitor, taken = calibrated_monitor(problems, alpha=0.5, judging=Judging(), solutions="mean")
    assert taken.scores[0].tolist() == [0.9, 0.8]
    assert taken.problem == (1, 2)
    assert (taken.num_solutions, taken.num_wrong, taken.num_unlabelled, taken.unscored_steps) == (4, 1, 1, 1)
    assert taken.unlabelled_share == pytest.approx(1 / 5)
    assert monitor.largest == (-0.8, -0.6)
    assert monitor.lengths == (2, 3)
    strict, _ = calibrated_monitor(problems, alpha=0.5, judging=Judging(unlabelled="wrong"))
    assert strict.num_problems == 1
    fully, _ = calibrated_monitor(problems, alpha=0.5, judging=Judging(wrong_below=1.0))
    assert fully.num_problems == 1
    product, _ = calibrated_monitor(problems, alpha=0.5, judging=Judging(), statistic=RunningProduct())
    assert product.largest[0] == pytest.approx(-math.log(0.45 * 0.4)), "the product reads calibrated confidences"


def test_before_the_first_wrong_step_all_problems_count() -> None:
    problems = [
        ScoredProblem(1, (chain([1, 0, 1], [0.9, 0.1, 0.7]),)),
        ScoredProblem(2, (chain([1, 1], [0.8, 0.6]),)),
        ScoredProblem(3, (chain([0], [0.2]),)),
    ]
    covers: Any = "steps_before_the_first_wrong_one"
    monitor, _ = calibrated_monitor(problems, alpha=0.5, judging=Judging(), covers=covers)
    assert monitor.largest == (-0.9, -0.6, -math.inf)
    assert monitor.num_problems == 3
    assert "before its first wrong step" in monitor.in_words()


def test_several_solutions_of_a_problem_count_as_one() -> None:
    """An easy problem with 30 right solutions does not outweigh one with a single one."""
    scores = [[0.9]] * 30 + [[0.1]] * 9
    problem = [0] * 30 + list(range(1, 10))
    mean = Monitor.fit(scores, problem, alpha=0.1, solutions="mean")
    assert mean.num_problems == 10
    assert mean.threshold == -0.1
    assert Monitor.fit(scores, problem, alpha=0.1).solutions == "drawn"
    assert Monitor.fit([[0.9]] * 49, list(range(49)), alpha=0.1).solutions == "mean"


# e-values


@by_name
def test_the_e_value_has_mean_one(statistic: RunningStatistic) -> None:
    """Over all choices of which of n0 + 1 solutions is the new one the mean is exactly 1."""
    scores = [one[:6] for one in of_16_steps(3, 12, icc=0.3)]
    values = []
    for new in range(12):
        others = [one for number, one in enumerate(scores) if number != new]
        monitor = Monitor.fit(others, list(range(11)), alpha=0.2, statistic=statistic)
        run = monitor.begin()
        for score in scores[new]:
            run.add(float(score))
        values.append(conformal_e_value(monitor, run.largest))
    assert np.mean(values) == pytest.approx(1.0)
    assert merged_e_value(values) == pytest.approx(1.0)


def test_the_e_value_only_grows_and_is_one_where_nothing_is_known() -> None:
    monitor = Monitor.fit(list(of_16_steps(3, 20, icc=0.3)), list(range(20)), alpha=0.1, statistic=MixedRatio())
    run = monitor.begin()
    values = []
    for score in (0.9, 0.2, 0.95, 0.1):
        run.add(score)
        values.append(conformal_e_value(monitor, run.largest))
    assert values == sorted(values)
    assert 0.0 <= values[0] <= values[-1] <= 21.0
    assert conformal_e_value(Monitor.fit([], [], alpha=0.1), -0.5) == 1.0
    assert conformal_e_value(Monitor.fit([[1.0]], [1], alpha=0.1), -1.0) == 1.0


def test_a_batch_is_tested_by_benjamini_and_hochberg() -> None:
    assert alarms_in_a_batch([30.0, 20.0, 1.0], 0.1).tolist() == [True, True, False]
    assert alarms_in_a_batch([29.0, 14.0, 1.0], 0.1).tolist() == [False, False, False]
    assert alarms_in_a_batch([], 0.1).tolist() == []


# What it finds


def test_what_it_finds_is_counted_by_problem_and_told_from_false_alarms() -> None:
    """Four wrong solutions: found at once, two steps late, too early, and not at all; two of one problem."""
    good = [ScoredProblem(100 + n, (chain([1] * 4, [0.9 - n / 100] * 4),)) for n in range(9)]
    wrong = [
        ScoredProblem(1, (chain([1, 0, 1, 1], [0.9, 0.1, 0.9, 0.9]), chain([1, 0, 1, 1], [0.9, 0.9, 0.9, 0.1]))),
        ScoredProblem(2, (chain([1, 1, 0, 1], [0.1, 0.9, 0.9, 0.9]),)),
        ScoredProblem(3, (chain([0, 1, 1, 1, 1], [0.9, 0.9, 0.9, 0.9, 0.1]),)),
    ]
    monitor, taken = calibrated_monitor([*good, *wrong], alpha=0.1, judging=Judging())
    found = found_by(monitor, taken.wrong)
    assert monitor.threshold == pytest.approx(-0.82)
    assert found.stopped == pytest.approx(2 / 3), "beyond the calibrated length nothing is found"
    assert found.before == pytest.approx(1 / 3)
    assert found.delay == 1.0
    assert found_by(monitor, []) == Found(None, None, None)


def test_with_several_solutions_a_problem_the_bound_is_alpha() -> None:
    mean = Monitor.fit([[0.9]] * 40, [number // 2 for number in range(40)], alpha=0.1, solutions="mean")
    assert mean.expected_false_alarms == 0.1


@by_name
def test_a_threshold_is_said_as_people_read_scores(statistic: RunningStatistic) -> None:
    limit = float(running_values(statistic, [0.5, 0.4])[-1])
    words = statistic.above(limit)
    assert {"lowest_step": "below 0.4", "product": "below 0.2", "mixed_ratio": "above "}[statistic.name] in words

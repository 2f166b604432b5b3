"""Paired differences: their interval covers a known truth as often as it claims."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from surestep.errors import DataError
from surestep.metrics import FIGURES, Difference, Measure, paired_differences, resample
from surestep.metrics.bootstrap.draws import Draws
from surestep.scored import ScoredSteps


def paired_difference(
    figure: str,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    label: npt.ArrayLike,
    problem: Sequence[int] | np.ndarray,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Difference:
    one, two = (ScoredSteps.of_columns(scores, label, problem=problem) for scores in (first, second))
    return paired_differences([figure], one, two, draws=Draws(one.num_problems, resamples, seed))[figure]


def simulate(random: np.random.Generator, noise: float, *, num_problems: int = 80, steps: int = 5):
    """Labels with an effect of the problem, a scorer that knows p* and one with errors; both share the problem's."""
    problem = np.repeat(np.arange(num_problems), steps)
    truth = np.clip(0.6 + np.repeat(random.normal(0, 0.2, num_problems), steps), 0.05, 0.95)
    label = (random.random(problem.size) < truth).astype(float)
    error = np.repeat(random.choice([-1.0, 1.0], num_problems), steps) * noise
    worse = np.clip(truth + error, 0.0, 1.0)
    return truth, worse, label, problem, float(np.mean((worse - truth) ** 2))


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_the_interval_covers_the_true_difference_as_often_as_it_claims(noise: float) -> None:
    random = np.random.default_rng(11)
    # The expected difference of MSE is the mean of (p − p*)², over the problems there could be.
    true_difference = np.mean([simulate(random, noise)[4] for _ in range(400)])
    num_simulations, covered = 200, 0
    for number in range(num_simulations):
        truth, worse, label, problem, _ = simulate(random, noise)
        found = paired_difference("mse", worse, truth, label, problem, resamples=200, seed=number)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= true_difference <= found.high
    # 95 % give or take three standard errors of 200 simulations, and the bootstrap's own shortfall at 80 problems.
    assert 0.90 <= covered / num_simulations <= 0.985


@pytest.mark.slow
@pytest.mark.parametrize("figure", ["mse", "auroc"])
def test_scorers_of_equal_worth_are_seldom_called_different(figure: str) -> None:
    random = np.random.default_rng(5)
    real = 0
    for _ in range(120):
        truth, _, label, problem, _ = simulate(random, 0.1, num_problems=60)
        one, two = (np.clip(truth + random.normal(0, 0.1, truth.size), 0, 1) for _ in range(2))
        real += bool(paired_difference(figure, one, two, label, problem, resamples=200).is_real)
    assert real / 120 <= 0.10


def test_pairing_finds_what_two_separate_intervals_would_not() -> None:
    random = np.random.default_rng(3)
    truth, worse, label, problem, _ = simulate(random, 0.2, num_problems=200)
    paired = paired_difference("mse", worse, truth, label, problem)
    assert paired.is_real
    assert paired.high is not None
    assert paired.low is not None
    alone = Measure(ScoredSteps.of_columns(truth, label, problem=problem), [FIGURES["mse"]], num_problems=200)
    resample([alone], Draws(200))
    interval = alone.interval("mse")
    assert interval is not None
    assert interval.low is not None
    assert interval.high is not None
    assert paired.high - paired.low < interval.high - interval.low


def test_a_scorer_and_itself_do_not_differ() -> None:
    truth, _, label, problem, _ = simulate(np.random.default_rng(1), 0.1)
    for figure in FIGURES:
        found = paired_difference(figure, truth, truth, label, problem, resamples=20)
        assert (found.difference, found.low, found.high, found.is_real) == (0.0, 0.0, 0.0, False), figure


def test_one_problem_has_no_interval_and_says_so() -> None:
    found = paired_difference("mse", [0.1, 0.9], [0.2, 0.8], [0, 1], [4, 4])
    assert found.difference == pytest.approx(-0.03)
    assert (found.low, found.high, found.is_real) == (None, None, None)
    assert "at least 2 problems" in found.why_none


def test_an_undefined_figure_and_a_rare_class_say_why() -> None:
    found = paired_difference("auroc", [0.1, 0.9], [0.2, 0.8], [1, 1], [1, 2])
    assert found.difference is None
    assert "only one class" in found.why_none
    label = np.ones(20)
    label[0] = 0.0  # drawn in about two resamples of three only
    found = paired_difference("auroc", np.linspace(0, 1, 20), np.full(20, 0.5), label, np.arange(20))
    assert found.difference == pytest.approx(0.5)
    assert found.low is None
    assert "has no value" in found.why_none


def test_a_confidence_out_of_range_is_refused_with_its_row() -> None:
    with pytest.raises(DataError, match=r"row 1 .* confidence 1\.5"):
        paired_difference("mse", [0.1, 1.5], [0.2, 0.8], [0, 1], [1, 2])

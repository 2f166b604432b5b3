"""Draws equal the figure itself under each resample's weights, and are fast."""

from __future__ import annotations

import time

import numpy as np
import pytest

from surestep.metrics.columns import UndefinedFigureError
from surestep.metrics.draws import figure_draws
from surestep.metrics.figure_table import FIGURES, RANKING_FIGURES
from surestep.metrics.resamples import resample_counts


def made(num_problems: int, *, seed: int, ties: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidence, label and problem of problems with one to nine steps; soft, hard and neutral labels, many ties."""
    random = np.random.default_rng(seed)
    problem = np.repeat(np.arange(num_problems), random.integers(1, 10, num_problems))
    label = random.choice([0.0, 0.5, 1.0, 0.3], problem.size, p=[0.3, 0.2, 0.4, 0.1])
    confidence = np.clip(0.5 * label + 0.5 * random.random(problem.size), 0, 1)
    return (np.round(confidence, 1) if ties else confidence), label, problem


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("num_problems", [2, 5, 40])
def test_draws_are_the_figure_under_the_resamples_weights(name: str, num_problems: int) -> None:
    for seed in range(4):
        p, y, problem = made(num_problems, seed=seed, ties=seed % 2 == 0)
        shuffled = np.random.default_rng(seed).permutation(p.size)
        p, y, problem = p[shuffled], y[shuffled], problem[shuffled]
        expected = []
        for counts in resample_counts(num_problems, resamples=30, seed=seed):
            try:
                expected.append(FIGURES[name](p, y, counts[problem]))
            except UndefinedFigureError:
                expected.append(np.nan)
        found = figure_draws(name, p, y, problem * 3 + 5, resamples=30, seed=seed)
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("name", FIGURES)
def test_edges_all_zero_all_one_and_labels_of_one_kind(name: str) -> None:
    problem = np.arange(6)
    for p in (np.zeros(6), np.ones(6), np.array([0.1, 0.2, 0.3, 0.7, 0.9, 1.0])):
        for y in (np.zeros(6), np.ones(6), np.full(6, 0.5), np.array([0, 1, 0.5, 1, 0, 1.0])):
            expected = []
            for counts in resample_counts(6, resamples=10):
                try:
                    expected.append(FIGURES[name](p, y, counts[problem]))
                except UndefinedFigureError:
                    expected.append(np.nan)
            np.testing.assert_allclose(figure_draws(name, p, y, problem, resamples=10), expected, atol=1e-12)


def test_ranking_figures_read_the_raw_confidence_and_the_others_do_not() -> None:
    p, y, problem = made(30, seed=1, ties=False)
    for name in FIGURES:
        found = figure_draws(name, np.full(p.size, 0.5), y, problem, raw_confidence=p, resamples=5)
        read = p if name in RANKING_FIGURES else np.full(p.size, 0.5)
        np.testing.assert_array_equal(found, figure_draws(name, read, y, problem, resamples=5))


def test_a_hundred_thousand_steps_take_seconds() -> None:
    p, y, problem = made(20_000, seed=3, ties=False)
    assert p.size > 95_000
    for name in ("mse", "r2", "ece", "auroc"):
        began = time.process_time()
        assert np.isfinite(figure_draws(name, p, y, problem, resamples=100)).all()
        # A tenth of the usual number of resamples; some tenths of a second on a quiet machine.
        assert time.process_time() - began < 3.0, name

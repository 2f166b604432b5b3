"""Debiased and smooth calibration errors, the Brier score's parts, risk-coverage and Spearman, checked otherwise."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from surestep.metrics import (
    UndefinedFigureError,
    auroc,
    average_precision,
    brier,
    brier_reliability,
    brier_resolution,
    brier_uncertainty,
    brier_within_bin,
    ece,
    reliability_equal_width,
    risk_coverage_area,
    risk_coverage_excess,
    rms_calibration_error,
    rms_calibration_error_by_problem,
    smooth_ece,
    spearman,
)
from surestep.metrics.figures.bins import equal_mass_bins

QUICK = settings(derandomize=True, deadline=None, max_examples=60)
HARD_CONFIDENCES = [0.0, 0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8999999999999999, 0.9, 1.0]


@st.composite
def hard_columns(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Confidences on the edges of bins, 0 and 1, and many ties; hard labels of both classes."""
    size = draw(st.integers(2, 40))
    p = draw(st.lists(st.sampled_from(HARD_CONFIDENCES), min_size=size, max_size=size))
    y = draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=size, max_size=size))
    return np.array(p), np.array([0.0, 1.0, *y[2:]])


@pytest.mark.slow
@QUICK
@given(hard_columns())
def test_scikit_learn_gives_the_same_on_hard_cases(data: tuple[np.ndarray, np.ndarray]) -> None:
    p, y = data
    assert auroc(p, y) == pytest.approx(roc_auc_score(y, p), abs=1e-12)
    assert average_precision(p, y) == pytest.approx(average_precision_score(y, p), abs=1e-12)
    assert brier(p, y) == pytest.approx(brier_score_loss(y, p), abs=1e-12)


@QUICK
@given(hard_columns())
def test_a_plain_loop_gives_the_same_ece_on_edges_and_at_one(data: tuple[np.ndarray, np.ndarray]) -> None:
    p, y = data
    edges = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, math.inf]
    gap = 0.0
    for low, high in pairwise(edges):
        ours = [(a, b) for a, b in zip(p.tolist(), y.tolist(), strict=True) if low <= a < high]
        gap += abs(sum(a for a, _ in ours) - sum(b for _, b in ours))
    assert ece(p, y) == pytest.approx(gap / p.size, abs=1e-12)


def test_scikit_learns_reliability_curve_is_ours_away_from_the_edges() -> None:
    """On edges it differs on purpose: scikit-learn's linspace has 0.30000000000000004 for an edge."""
    rng = np.random.default_rng(0)
    p = rng.random(500)
    y = (rng.random(500) < p).astype(float)
    true, predicted = calibration_curve(y, p, n_bins=10)
    ours = [row for row in reliability_equal_width(p, y) if row.count]
    assert [row.mean_label for row in ours] == pytest.approx(true)
    assert [row.mean_confidence for row in ours] == pytest.approx(predicted)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_confidences_at_one_end(value: float) -> None:
    p, y = np.full(4, value), np.array([0.0, 1.0, 1.0, 1.0])
    assert ece(p, y) == pytest.approx(abs(value - 0.75))
    assert smooth_ece(p, y) == pytest.approx(abs(value - 0.75), abs=1e-4)
    assert auroc(p, y) == 0.5
    assert risk_coverage_area(p, y) == pytest.approx(0.25)


@QUICK
@given(hard_columns(), st.booleans())
def test_spearman_is_scipys(data: tuple[np.ndarray, np.ndarray], soft: bool) -> None:
    p, y = data
    y = np.where(np.arange(y.size) % 3 == 2, 0.25, y) if soft else y
    if p.min() == p.max():
        with pytest.raises(UndefinedFigureError, match="confidences equal"):
            spearman(p, y)
    else:
        assert spearman(p, y) == pytest.approx(spearmanr(p, y).statistic, abs=1e-12)


@QUICK
@given(hard_columns())
def test_the_parts_of_the_brier_score_add_up(data: tuple[np.ndarray, np.ndarray]) -> None:
    reliability, resolution = brier_reliability(*data), brier_resolution(*data)
    uncertainty, rest = brier_uncertainty(*data), brier_within_bin(*data)
    assert reliability - resolution + uncertainty + rest == pytest.approx(brier(*data), abs=1e-12)
    assert 0.0 <= resolution <= uncertainty + 1e-12


def test_nothing_remains_within_bins_where_each_holds_one_confidence() -> None:
    p = np.array([0.05, 0.05, 0.35, 0.35, 0.35, 1.0])
    assert brier_within_bin(p, [0, 1, 0, 0, 1, 1]) == pytest.approx(0.0, abs=1e-15)


def test_risk_coverage_is_the_average_over_coverages_drawn_finely() -> None:
    """Each step cut into 400 parts of equal confidence, kept part by part."""
    rng = np.random.default_rng(1)
    p = rng.permutation(40) / 40
    y = rng.choice([0.0, 0.25, 0.5, 1.0], 40)
    loss = np.repeat(1.0 - y[np.argsort(-p)], 400)
    risks = np.cumsum(loss) / np.arange(1, loss.size + 1)
    assert risk_coverage_area(p, y) == pytest.approx(risks.mean(), abs=2e-3)


def test_the_best_order_has_the_published_area_and_no_excess() -> None:
    y = np.array([1.0] * 7 + [0.0] * 3)
    p = np.linspace(0.9, 0.1, 10)
    assert risk_coverage_area(p, y) == pytest.approx(0.3 + 0.7 * math.log(0.7))
    assert risk_coverage_excess(p, y) == 0.0
    assert risk_coverage_excess(p[::-1], y) > 0.3


def test_the_debiased_square_is_unbiased_where_the_plain_one_is_not() -> None:
    rng = np.random.default_rng(2)
    plain, debiased = [], []
    for _ in range(400):
        p = rng.random(200)
        y = (rng.random(200) < np.clip(p - 0.1, 0, 1)).astype(float)
        bins = equal_mass_bins(p)
        gaps = np.bincount(bins, p - y) / np.bincount(bins)
        plain.append(np.mean(gaps**2))
        debiased.append(rms_calibration_error(p, y) ** 2)
    # 0.1² but for the confidences below 0.1, whose probability is 0: (0.09 · 10 + ∫ p² over them) / 10.
    assert np.mean(debiased) == pytest.approx(0.0093, abs=0.0012)
    assert np.mean(plain) > 0.016


def test_the_noise_of_steps_that_repeat_each_other_is_that_of_their_problem() -> None:
    """Ten copies of each step tell nothing new: only the form by problem notices."""
    rng = np.random.default_rng(3)
    p = rng.random(100)
    y = (rng.random(100) < p).astype(float)
    once = rms_calibration_error(p, y)
    copied = np.repeat(p, 10), np.repeat(y, 10)
    assert rms_calibration_error_by_problem(p, y, np.arange(100)) == pytest.approx(once, abs=1e-12)
    by_problem = rms_calibration_error_by_problem(*copied, np.repeat(np.arange(100), 10))
    assert by_problem == pytest.approx(once, abs=1e-9)
    assert rms_calibration_error(*copied) > once + 0.02


def test_a_debiased_error_needs_two_problems_in_a_bin() -> None:
    with pytest.raises(UndefinedFigureError, match="two problems"):
        rms_calibration_error_by_problem([0.1, 0.9], [0, 1], [0, 0])


def test_the_smooth_error_is_that_of_a_plain_sum_of_kernels() -> None:
    """Reflected Gaussians summed one by one on a fine grid, the fixed point by halving."""
    rng = np.random.default_rng(4)
    p = np.concatenate([rng.beta(4, 2, 300), [0.0, 1.0, 1.0]])
    y = (rng.random(p.size) < np.clip(p - 0.15, 0, 1)).astype(float)
    grid = (np.arange(2000) + 0.5) / 2000

    def gap(width: float) -> float:
        values = np.zeros(grid.size)
        for centre in (p, -p, 2.0 - p):
            kernel = np.exp(-0.5 * ((grid[:, None] - centre) / width) ** 2) / (width * math.sqrt(2.0 * math.pi))
            values += kernel @ (p - y) / p.size
        return float(np.abs(values).mean())

    low, high = 1e-3, 1.0
    for _ in range(20):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if gap(middle) > middle else (low, middle)
    assert smooth_ece(p, y) == pytest.approx(low, abs=1e-3)

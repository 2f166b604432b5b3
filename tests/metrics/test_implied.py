"""What targets ask for on given labels."""

from __future__ import annotations

import numpy as np
import pytest

from surestep.metrics.report import ConstantBaseline, build_report
from surestep.metrics.report.implied import implied_by, label_variance
from surestep.scored import ScoredSteps


def section(label: np.ndarray, constant: float | None = None) -> dict:
    size = label.size
    predictions = ScoredSteps.of_columns(np.full(size, 0.5), label, dataset_names=("a",))
    baseline = ConstantBaseline(per_dataset={} if constant is None else {"a": constant})
    return build_report(predictions, baseline=baseline)["per_dataset"]["a"]


@pytest.mark.parametrize("constant", [None, 0.1, 0.9])
def test_the_variance_comes_out_of_a_report_whatever_its_constant(constant: float | None) -> None:
    label = np.random.default_rng(1).choice([0.0, 0.5, 1.0], 400, p=[0.3, 0.2, 0.5])
    assert label_variance(section(label, constant)) == pytest.approx(float(label.var()))


def test_the_documents_production_mse_contradicts_prm800k_and_its_r2_does_not() -> None:
    mse = implied_by("mse", 0.015, variance=0.20, best_mse=None, plausible_r2=0.9)
    assert mse.contradicts
    assert "R² ≥ 0.925" in mse.reason
    assert not implied_by("r2", 0.8, variance=0.20, best_mse=None, plausible_r2=0.9).contradicts
    assert not implied_by("mse", 0.015, variance=0.08, best_mse=None, plausible_r2=0.9).contradicts


@pytest.mark.parametrize("seed", range(20))
def test_no_scorer_meets_a_target_with_a_smaller_r2_than_implied(seed: int) -> None:
    random = np.random.default_rng(seed)
    label = random.choice([0.0, 0.5, 1.0], 50)
    confidence = np.clip(label + random.normal(0, 0.2, 50), 0, 1)
    error = confidence - label
    r2 = 1 - (error**2).mean() / label.var()
    for figure, value in (("mse", (error**2).mean()), ("mae", np.abs(error).mean())):
        implied = implied_by(figure, float(value), variance=float(label.var()), best_mse=None, plausible_r2=1.0)
        assert implied.r2 is not None
        assert r2 >= implied.r2 - 1e-12


def test_the_known_truth_decides_where_there_is_one() -> None:
    beyond = implied_by("mse", 0.04, variance=0.2, best_mse=0.05, plausible_r2=0.9)
    assert beyond.contradicts
    assert "true probabilities have 0.0500" in beyond.reason
    # R² 0.95 is more than plausible elsewhere; here the truth itself reaches it.
    assert not implied_by("mse", 0.01, variance=0.2, best_mse=0.008, plausible_r2=0.9).contradicts
    assert implied_by("r2", 0.99, variance=0.2, best_mse=0.008, plausible_r2=0.9).contradicts


@pytest.mark.parametrize(("figure", "variance"), [("ece", 0.2), ("nll", 0.2), ("mse", 0.0), ("mse", None)])
def test_nothing_is_implied_without_a_bound(figure: str, variance: float | None) -> None:
    implied = implied_by(figure, 0.01, variance=variance, best_mse=None, plausible_r2=0.9)
    assert (implied.r2, implied.contradicts) == (None, False)

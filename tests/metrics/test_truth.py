"""Regret to a known truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from surestep.errors import DataError
from surestep.metrics import mse
from surestep.metrics.report.truth import truth_of
from surestep.scored import ScoredSteps

CLEAN = np.array([0.0, 1.0, 1.0])


def truth_report(confidence: np.ndarray, label: np.ndarray, truth: np.ndarray) -> dict[str, Any] | None:
    found = truth_of(ScoredSteps.of_columns(confidence, label, true_confidence=truth), num_problems=label.size)
    return None if found is None else found.json


def test_without_any_known_truth_there_is_nothing_to_report() -> None:
    assert truth_report(np.array([0.5]), np.array([1.0]), np.array([np.nan])) is None


def test_the_truth_itself_has_no_regret_and_reaches_the_best() -> None:
    rng = np.random.default_rng(0)
    truth = np.concatenate([CLEAN, rng.random(2000)])
    label = (rng.random(truth.size) < truth).astype(float)
    report = truth_report(truth, label, truth)
    assert report is not None
    assert report["regret"] == report["regret_noisy"] == report["regret_clean"] == 0.0
    assert report["mse"] == report["best_mse"] == mse(truth, label)
    assert report["nll"] == report["best_nll"]
    assert report["clean"] == {"mse": 0.0, "mae": 0.0, "r2": 1.0, "ece": 0.0, "undefined": {}}
    assert report["num_contradictions"] == 0


def test_clean_and_noisy_steps_are_told_apart_and_unknown_ones_left_out() -> None:
    p = np.array([0.1, 0.8, 0.5, 0.9])
    y = np.array([0.0, 1.0, 1.0, 0.0])
    truth = np.array([0.0, 1.0, 0.75, np.nan])
    report = truth_report(p, y, truth)
    assert report is not None
    counts = [report[f"num_steps{suffix}"] for suffix in ("", "_clean", "_noisy", "_without_truth")]
    assert counts == [3, 2, 1, 1]
    assert report["regret_clean"] == pytest.approx((0.01 + 0.04) / 2)
    assert report["regret_noisy"] == pytest.approx(0.0625)
    assert report["regret"] == pytest.approx((0.01 + 0.04 + 0.0625) / 3)
    assert report["mse_noisy"] == pytest.approx(0.25)
    assert report["best_mse_noisy"] == pytest.approx(0.0625)
    assert report["undefined"] == {}


@pytest.mark.slow
def test_regret_is_the_expected_excess_of_mse_over_the_best() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random(200_000)
    p = np.clip(truth + rng.normal(0, 0.1, truth.size), 0, 1)
    label = (rng.random(truth.size) < truth).astype(float)
    report = truth_report(p, label, truth)
    assert report is not None
    excess = float(report["mse"]) - float(report["best_mse"])
    # Its standard error is about 2 * 0.1 * 0.41 / sqrt(200,000) = 1.8e-4.
    assert excess == pytest.approx(report["regret"], abs=8e-4)


def test_a_missing_part_is_null_with_a_reason() -> None:
    report = truth_report(np.array([0.4]), np.array([1.0]), np.array([0.5]))
    assert report is not None
    assert report["regret_clean"] is None
    assert report["undefined"] == {"regret_clean": "no step of known truth is clean"}
    clean = report["clean"]
    assert isinstance(clean, dict)
    assert clean["mse"] is None
    assert clean["undefined"]["mse"] == "there are no labelled steps"
    report = truth_report(np.array([0.4, 0.2]), np.array([1.0, 0.0]), np.array([1.0, 0.0]))
    assert report is not None
    assert report["regret_noisy"] is None
    assert set(report["undefined"]) == {"regret_noisy", "mse_noisy", "best_mse_noisy"}


def test_a_label_that_contradicts_a_certain_truth_is_counted() -> None:
    report = truth_report(np.array([0.4, 0.4]), np.array([0.0, 1.0]), np.array([1.0, 1.0]))
    assert report is not None
    assert report["num_contradictions"] == 1


def test_a_truth_outside_its_range_is_refused() -> None:
    with pytest.raises(DataError, match=r"row 0 .*true_confidence"):
        truth_report(np.array([0.4]), np.array([0.0]), np.array([1.5]))

"""What a report allows itself to say: one scale of skill, no verdict on few problems, calibrated or only close."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from surestep.metrics import Baseline, ConstantBaseline, build_report, mse
from surestep.metrics.report.assessment import assessment
from surestep.scored import ScoredSteps


def steps(num_problems: int, *, datasets: int = 1, gap: float = 0.0, seed: int = 0) -> ScoredSteps:
    """Five steps a problem, confidences off by `gap`; the second dataset has mostly wrong steps."""
    rng = np.random.default_rng(seed)
    problem = np.repeat(np.arange(num_problems), 5)
    dataset = problem % datasets
    truth = np.clip(rng.beta(6, 2, problem.size) - 0.5 * dataset, 0.02, 0.98)
    label = (rng.random(problem.size) < truth).astype(float)
    return ScoredSteps.of_columns(
        np.clip(truth + gap, 0, 1), label, problem=problem, dataset=dataset, dataset_names=("a", "b")[:datasets]
    )


def test_one_evaluated_dataset_of_two_trained_is_compared_with_its_own_constant_everywhere() -> None:
    """The mean over all training data flatters: a constant of 0.4 is far from this dataset's labels."""
    part = steps(60)
    known = ConstantBaseline(per_dataset={"a": 0.75, "b": 0.1}, overall=0.4)
    report: Any = build_report(part, baseline=known, baselines=[], resamples=100)
    own = report["per_dataset"]["a"]
    expected = 1 - mse(part.confidence, part.label) / mse(np.full(len(part), 0.75), part.label)
    assert report["overall"]["skill"]["mse"] == own["skill"]["mse"] == pytest.approx(expected)
    assert report["overall"]["constant_baseline"]["constant"] == 0.75
    assert report["overall"]["assessment"] == own["assessment"]
    assert [row["mse"] for row in report["baselines"]] == [own["constant_baseline"]["mse"]]
    assert report["overall"]["skill"]["mse"] < 1 - own["mse"] / mse(np.full(len(part), 0.4), part.label)


def test_a_dataset_not_trained_on_has_one_constant_too() -> None:
    part = steps(60)
    report: Any = build_report(part, baseline=ConstantBaseline({"b": 0.1}, 0.1), baselines=[], resamples=50)
    assert report["overall"]["constant_baseline"]["source"] == "evaluated_mean"
    assert report["overall"]["skill"] == report["per_dataset"]["a"]["skill"]
    assert [row["name"] for row in report["baselines"]] == ["evaluated mean"]


def test_over_several_datasets_skill_is_over_each_ones_own_constant() -> None:
    part = steps(80, datasets=2)
    report: Any = build_report(part, resamples=100)
    skill = report["overall"]["skill"]
    against = report["overall"][skill["against"]]
    assert skill["mse"] == pytest.approx(1 - report["overall"]["mse"] / against["mse"])
    assert skill["intervals"]["mse"]["low"] < skill["mse"] < skill["intervals"]["mse"]["high"]
    for section in report["per_dataset"].values():
        assert section["skill"]["against"] == "constant_baseline"


@pytest.mark.parametrize("num_problems", [2, 12, 29])
@pytest.mark.parametrize("gap", [0.0, 0.4])
def test_fewer_than_thirty_problems_allow_no_verdict(num_problems: int, gap: float) -> None:
    part = steps(num_problems, gap=gap)
    rows = [Baseline(name, name, scores) for name, scores in (("right", part.label), ("wrong", 1 - part.label))]
    report: Any = build_report(part, baselines=rows, resamples=200)
    section = report["overall"]
    assert section["assessment"]["enough_problems"] is False
    assert section["assessment"]["skill"]["verdict"] == "too few problems"
    assert section["assessment"]["calibration"]["verdict"] == "too few problems"
    assert report["verdict"] == [f"a: too few problems to say ({num_problems}; at least 30 are needed)."]
    assert {value for beaten in section["beats_baselines"].values() for value in beaten.values()} == {None}


def test_thirty_problems_are_enough() -> None:
    part = steps(30)
    rows = [Baseline(name, name, scores) for name, scores in (("right", part.label), ("wrong", 1 - part.label))]
    report: Any = build_report(part, baselines=rows, resamples=200)
    beaten = report["overall"]["beats_baselines"]
    assert (beaten["right"]["mse"], beaten["wrong"]["mse"]) == (False, True)
    assert any("is worse than right" in sentence for sentence in report["verdict"])


@pytest.mark.slow
def test_a_calibrated_model_is_within_noise_and_a_shifted_one_is_not() -> None:
    calibrated: Any = build_report(steps(400), resamples=200)["overall"]["assessment"]["calibration"]
    assert calibrated["verdict"] == "within noise"
    assert calibrated["ece"] <= calibrated["if_calibrated"]["high"]
    close: Any = build_report(steps(4000, gap=0.02), resamples=100)["overall"]["assessment"]["calibration"]
    assert close["verdict"] == "close"
    assert close["ece"] > close["if_calibrated"]["high"]
    assert close["bias"] > 0
    off: Any = build_report(steps(400, gap=0.3), resamples=100)["overall"]["assessment"]["calibration"]
    assert off["verdict"] == "off"


@pytest.mark.parametrize(
    ("ece", "high", "verdict"),
    [
        (0.01, 0.016, "within noise"),
        (0.016, 0.016, "within noise"),
        (0.025, 0.016, "close"),
        (0.03, None, "close"),
        (0.01, None, "close"),
        (0.05, 0.016, "rough"),
        (0.09, 0.016, "off"),
        (0.09, 0.1, "within noise"),
        (None, None, "unknown"),
    ],
)
def test_calibration_is_judged_by_what_noise_would_show(ece: float | None, high: float | None, verdict: str) -> None:
    noise = {} if high is None else {"ece": {"mean": 0.5 * high, "high": high}}
    found = assessment({"num_problems": 100, "ece": ece, "if_calibrated": noise})
    assert found["calibration"]["verdict"] == verdict


@pytest.mark.parametrize(
    ("value", "low", "high", "verdict"),
    [
        (0.2, 0.1, 0.3, "better"),
        (0.2, -0.1, 0.3, "not told apart"),
        (-0.2, -0.3, -0.1, "worse"),
        (0.2, None, None, "unknown"),
        (None, None, None, "unknown"),
    ],
)
def test_skill_is_judged_by_its_interval(
    value: float | None, low: float | None, high: float | None, verdict: str
) -> None:
    skill = {"mse": value, "intervals": {"mse": {"low": low, "high": high}}}
    assert assessment({"num_problems": 100, "skill": skill})["skill"]["verdict"] == verdict

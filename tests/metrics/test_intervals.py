"""Intervals: fast draws equal the plain figures, cover as often as they claim, and say where there are none."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from surestep.metrics import FIGURES, Measure, build_report, compute_figures, ece, resample
from surestep.metrics.bootstrap import inversion
from surestep.metrics.bootstrap.draws import Draws
from surestep.metrics.bootstrap.inversion import inverted_interval
from surestep.metrics.figures.binned import total
from surestep.metrics.figures.figure import Column
from surestep.scored import ScoredSteps


def clustered(seed: int, num_problems: int = 60, *, steps: int = 6, shift: float = 0.1) -> ScoredSteps:
    """Steps whose problems differ in difficulty, with some neutral labels and overconfidence of `shift`."""
    rng = np.random.default_rng(seed)
    problem = np.repeat(np.arange(num_problems), steps)
    ability = rng.beta(4, 2, num_problems)[problem]
    label = (rng.random(problem.size) < ability).astype(np.float64)
    label[rng.random(problem.size) < 0.1] = 0.5
    confidence = np.clip(ability + shift + rng.normal(0, 0.15, problem.size), 0, 1)
    return ScoredSteps.of_columns(
        confidence=confidence,
        raw_confidence=np.round(confidence, 2),
        label=label,
        dataset=np.zeros(problem.size, np.int64),
        dataset_names=("a",),
        problem=problem,
        position=1 + np.arange(problem.size) % steps,
    )


@pytest.mark.slow
def test_mse_and_calibration_in_the_large_are_covered_in_95_of_100_datasets_of_500_problems() -> None:
    """500 datasets whose problems differ, so that intervals over steps would be far too narrow."""
    counts = np.concatenate(list(Draws(500).blocks()))
    truth = clustered(10**6, 200_000)
    names = ("mse", "calibration_in_the_large")
    true = compute_figures(truth.confidence, truth.label, names=names).values
    covered = dict.fromkeys(names, 0)
    for seed in range(500):
        part = clustered(seed, 500)
        error = part.confidence - part.label
        columns = (np.ones(len(part)), error**2, error)
        sums = counts @ np.concatenate([Column(values).by_problem(part.problem, 500) for values in columns], axis=1)
        for number, name in enumerate(names, start=1):
            low, high = np.quantile(sums[:, number] / sums[:, 0], [0.025, 0.975])
            covered[name] += int(low <= true[name] <= high)
    assert {name: abs(count / 500 - 0.95) <= 0.03 for name, count in covered.items()} == dict.fromkeys(names, True)


@pytest.mark.parametrize(("resamples", "num_bins"), [(20, 1), (300, 10), (1000, 15)])
def test_candidates_that_are_tested_together_give_what_each_gives_alone(
    monkeypatch: pytest.MonkeyPatch, resamples: int, num_bins: int
) -> None:
    rng = np.random.default_rng(resamples)
    gaps = rng.normal(0, 0.02, num_bins)
    resampled = gaps + rng.normal(0, 0.01, (resamples, num_bins))
    found = []
    for entries in (1, 2**15, 2**30):
        monkeypatch.setattr(inversion, "_ENTRIES_AT_ONCE", entries)
        found.append(inverted_interval(gaps, resampled, total))
    assert found[0] == found[1] == found[2]


@pytest.mark.slow
@pytest.mark.parametrize("error", [0.0, 0.02, 0.1])
def test_the_interval_of_a_calibration_error_covers_it_where_a_percentile_bootstrap_does_not(error: float) -> None:
    """Ten bins, all the gap in one of them: the case in which the correction for noise matters most."""
    rng = np.random.default_rng(5)
    truth = np.zeros(10)
    truth[3] = error
    covered = percentile = 0
    for _ in range(100):
        noise = rng.normal(0, 0.003, (300, 10))
        seen = truth + rng.normal(0, 0.003, 10)
        found = inverted_interval(seen, seen + noise, total)
        covered += found.low <= error <= found.high
        low, high = np.quantile(total(seen + noise), [0.025, 0.975])
        percentile += low <= error <= high
    assert covered >= 90
    assert percentile <= 60 if error < 0.1 else percentile < covered


@pytest.mark.slow
def test_a_calibrated_model_is_shown_beside_what_noise_alone_would_give() -> None:
    part = clustered(3, 300, shift=0.0)
    truth = np.random.default_rng(0)
    label = (truth.random(len(part)) < part.confidence).astype(np.float64)
    calibrated = ScoredSteps.of_columns(
        confidence=part.confidence,
        label=label,
        dataset=part.dataset,
        dataset_names=part.dataset_names,
        problem=part.problem,
        position=part.position,
    )
    section: Any = build_report(calibrated, resamples=300)["overall"]
    assert section["intervals"]["ece"]["low"] == 0.0
    assert section["intervals"]["ece"]["method"] == "test inversion"
    assert section["if_calibrated"]["ece"]["mean"] > 0.0
    assert section["ece"] == ece(part.confidence, label) < section["if_calibrated"]["ece"]["high"]
    wrong: Any = build_report(part.with_confidence(np.full(len(part), 0.99)), resamples=300)["overall"]
    assert wrong["intervals"]["ece"]["low"] > wrong["if_calibrated"]["ece"]["high"]


def test_every_figure_has_an_interval_that_holds_it_or_says_that_it_is_corrected() -> None:
    report = json.loads(json.dumps(build_report(clustered(2), baselines=[], resamples=200), allow_nan=False))
    section = report["overall"]
    assert set(section["intervals"]) == {*FIGURES, "mean_confidence", "mean_label"}
    for name, interval in section["intervals"].items():
        assert interval["low"] < interval["high"], name
        if interval["method"] == "percentile":
            assert interval["low"] <= section[name] <= interval["high"], name
    for row in (*section["by_position"], *section["by_label"]):
        assert {"mse", "mae", "mean_confidence", "mean_label"} <= set(row["intervals"])
    assert set(section["skill"]["intervals"]) == {"mse", "nll"}
    assert report["bootstrap"] == {"resamples": 200, "seed": 0, "level": 0.95}


def test_intervals_depend_on_the_seed_and_on_nothing_else() -> None:
    first, again, other = (
        json.dumps(build_report(clustered(2), resamples=50, seed=seed)["overall"]) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_more_problems_give_narrower_intervals() -> None:
    widths = []
    for num_problems in (50, 800):
        section: Any = build_report(clustered(4, num_problems), resamples=200)["overall"]
        widths.append({name: row["high"] - row["low"] for name, row in section["intervals"].items()})
    assert [name for name in widths[0] if widths[1][name] > 0.6 * widths[0][name]] == []


def test_one_problem_has_no_interval_and_says_why() -> None:
    section: Any = build_report(clustered(1, 1), resamples=50, baselines=[])["overall"]
    assert section["intervals"] == {}
    assert section["no_intervals"] == "1 problem: intervals resample problems and need at least 2"
    assert section["beats_baselines"]["evaluated mean"] == {"mse": None, "nll": None, "auroc": None}


def test_no_resamples_means_no_intervals_and_says_so() -> None:
    section: Any = build_report(clustered(1), resamples=0)["overall"]
    assert section["intervals"] == {}
    assert "eval.bootstrap_resamples is 0" in section["no_intervals"]


@pytest.mark.slow
def test_resamples_of_one_class_are_left_out_and_counted() -> None:
    """One wrong step in one of three problems: about (2/3)³ of the resamples have none."""
    part = ScoredSteps.of_columns(
        confidence=np.array([0.9, 0.2, 0.8]),
        label=np.array([1.0, 0.0, 1.0]),
        dataset=np.zeros(3, np.int64),
        dataset_names=("a",),
        problem=np.arange(3),
        position=np.ones(3, np.int64),
    )
    section: Any = build_report(part, resamples=1000)["overall"]
    missing = section["intervals"]["auroc"]["undefined_resamples"]
    # Without the wrong problem 8 of 27, with it alone 1 of 27.
    assert missing == pytest.approx(1000 * 9 / 27, abs=60)
    assert "undefined_resamples" not in section["intervals"]["mse"]


@pytest.mark.slow
def test_datasets_are_drawn_apart_so_that_their_mean_is_as_narrow_as_it_should_be() -> None:
    """Two datasets alike in every number: the mean of their R² varies by 1 / sqrt(2) of what each does."""
    one = clustered(5, 100)
    size = len(one)
    both = ScoredSteps.of_columns(
        np.tile(one.confidence, 2),
        np.tile(one.label, 2),
        dataset=np.repeat([0, 1], size),
        dataset_names=("a", "b"),
        problem=np.concatenate([one.problem, one.problem + 100]),
    )
    found: Any = build_report(both, resamples=1000)
    mean = found["overall"]["r2_mean_per_dataset_interval"]
    widths = [section["intervals"]["r2"] for section in found["per_dataset"].values()]
    each = np.mean([interval["high"] - interval["low"] for interval in widths])
    # An interval's ends vary by some percent with 1,000 draws.
    assert (mean["high"] - mean["low"]) / each == pytest.approx(1 / np.sqrt(2), abs=0.08)
    assert widths[0] != widths[1]


def test_one_dataset_is_drawn_as_all_steps_are() -> None:
    found: Any = build_report(clustered(2), resamples=50, seed=3)
    assert found["per_dataset"]["a"]["intervals"] == found["overall"]["intervals"]


@pytest.mark.slow
@pytest.mark.parametrize("label", [0.0, 1.0, None])
def test_no_interval_leaves_the_range_of_its_figure(label: float | None) -> None:
    """Confidences at the wrong end: sizes of gaps are spread beyond what any scorer could show."""
    rng = np.random.default_rng(1)
    for size in (2, 3, 12):
        labels = rng.integers(0, 2, size).astype(float) if label is None else np.full(size, label)
        for confidence in (1.0 - labels, np.full(size, 0.97), rng.random(size)):
            measure = Measure(ScoredSteps.of_columns(confidence, labels), num_problems=size)
            resample([measure], Draws(size, 60))
            for name, figure in FIGURES.items():
                interval = measure.interval(name)
                if interval is not None and interval.low is not None and interval.high is not None:
                    low, high = figure.range
                    assert low <= interval.low <= interval.high <= high, (name, interval)

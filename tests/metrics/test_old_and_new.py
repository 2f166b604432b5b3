"""Every figure, interval and paired difference of the old road equals that of the new one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from surestep.metrics import old_paired
from surestep.metrics.bootstrap.draws import Draws
from surestep.metrics.figure_table import FIGURES as OLD
from surestep.metrics.figure_table import compute_figures as old_figures
from surestep.metrics.figures import FIGURES, compute_figures
from surestep.metrics.measure import Measure, resample
from surestep.metrics.old_report import build_report as old_report
from surestep.metrics.paired import paired_differences
from surestep.metrics.predictions import Predictions
from surestep.scored import ScoredSteps


def columns(seed: int, size: int, per_problem: int, *, decimals: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    problem = np.sort(rng.integers(0, max(size // per_problem, 1), size))
    ability = rng.beta(4, 2, problem.max() + 1)[problem]
    label = rng.choice([0.0, 0.1, 0.25, 0.5, 1 / 3, 1.0], size, p=[0.25, 0.05, 0.05, 0.1, 0.05, 0.5])
    confidence = np.round(np.clip(ability + 0.1 + rng.normal(0, 0.15, size), 0, 1), decimals)
    _, problem = np.unique(problem, return_inverse=True)
    return {"confidence": confidence, "raw_confidence": np.round(confidence**2, 9), "label": label, "problem": problem}


@pytest.mark.parametrize(("size", "per_problem", "decimals"), [(3000, 6, 2), (3000, 6, 17), (40, 3, 1), (500, 1, 17)])
def test_values_and_intervals(size: int, per_problem: int, decimals: int) -> None:
    found = columns(size, size, per_problem, decimals=decimals)
    steps = ScoredSteps.of_columns(**found)
    part = Predictions(
        **found, dataset=np.zeros(size, np.int64), dataset_names=("all",), position=np.ones(size, np.int64)
    )
    weights = np.random.default_rng(1).integers(0, 3, size).astype(float)
    for w in (None, weights):
        old = old_figures(found["confidence"], found["label"], w, raw_confidence=found["raw_confidence"])
        new = compute_figures(found["confidence"], found["label"], w, raw_confidence=found["raw_confidence"])
        assert new.undefined == old.undefined
        for name in OLD:
            assert new.values[name] == pytest.approx(old.values[name], abs=4e-15), name
    section: Any = old_report(part, resamples=200, seed=3)["overall"]
    measure = Measure(steps, num_problems=steps.num_problems)
    resample([measure], Draws(steps.num_problems, 200, 3))
    for name in FIGURES:
        assert measure.values[name] == pytest.approx(section[name], abs=4e-15), name
        interval = measure.interval(name)
        assert interval is not None
        assert interval.to_json()["method"] == section["intervals"][name]["method"]
        assert interval.low == pytest.approx(section["intervals"][name]["low"], abs=1e-12), name
        assert interval.high == pytest.approx(section["intervals"][name]["high"], abs=1e-12), name


def test_paired_differences() -> None:
    found = columns(5, 2000, 5, decimals=2)
    steps = ScoredSteps.of_columns(**found)
    other = np.clip(found["confidence"] + np.random.default_rng(3).normal(0, 0.1, 2000), 0, 1)
    second = steps.with_confidence(other)
    new = paired_differences(FIGURES, steps, second, draws=Draws(steps.num_problems, 60, 2))
    for name in OLD:
        if name in {"ece_equal_mass", "rms_calibration_error"}:  # bins are fixed now; one estimator now
            continue
        old = old_paired.paired_difference(
            name,
            old_paired.Scores(found["confidence"], found["raw_confidence"]),
            old_paired.Scores(other),
            found["label"],
            found["problem"],
            resamples=60,
            seed=2,
        )
        assert new[name].difference == pytest.approx(old.difference, abs=4e-15), name
        assert (new[name].low, new[name].high) == pytest.approx((old.low, old.high), abs=1e-12), name


def _alike(old: Any, new: Any, where: str) -> None:
    if isinstance(old, dict):
        assert old.keys() == new.keys(), (where, old.keys() ^ new.keys())
        for key in old:
            _alike(old[key], new[key], f"{where}/{key}")
    elif isinstance(old, list):
        assert len(old) == len(new), where
        for number, (one, two) in enumerate(zip(old, new, strict=True)):
            _alike(one, two, f"{where}/{number}")
    elif isinstance(old, float):
        assert new == pytest.approx(old, abs=1e-12), where
    else:
        assert old == new, where


@pytest.mark.parametrize("several", [False, True])
def test_whole_reports(several: bool) -> None:
    from surestep.metrics.baseline_table import Baseline as OldBaseline
    from surestep.metrics.baselines import ConstantBaseline as OldConstant
    from surestep.metrics.report import Baseline, ConstantBaseline, build_report

    found = columns(7, 1500, 5, decimals=17)
    rng = np.random.default_rng(2)
    dataset = (found["problem"] % 2 if several else 0 * found["problem"]).astype(np.int64)
    order = np.argsort(dataset, kind="stable")
    found = {name: values[order] for name, values in found.items()}
    dataset = dataset[order]
    _, first = np.unique(found["problem"], return_index=True)
    found["problem"] = np.argsort(np.argsort(first))[np.unique(found["problem"], return_inverse=True)[1]]
    names = ("a", "b", "c") if several else ("a",)
    position, true = rng.integers(1, 30, 1500), rng.choice([0.0, 0.5, 1.0, np.nan], 1500)
    part = Predictions(**found, dataset=dataset, dataset_names=names, position=position, true_confidence=true)
    steps = ScoredSteps.of_columns(
        **found, dataset=dataset, dataset_names=names, position=position, true_confidence=true
    )
    other = rng.random(1500)
    means = {"a": 0.6, "b": 0.5}
    old = old_report(
        part, baseline=OldConstant(means, 0.55), baselines=[OldBaseline("r", "random", other)], resamples=60
    )
    new = build_report(
        steps, baseline=ConstantBaseline(means, 0.55), baselines=[Baseline("r", "random", other)], resamples=60
    )
    _alike(old, new, "")

"""The report's layout, its baselines, its reasons and its speed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from surestep.metrics import FIGURES, ConstantBaseline, build_report, mse, nll, r2
from surestep.metrics.bootstrap.draws import Draws
from surestep.metrics.measure import Measure, resample
from surestep.metrics.report import baselines as baselines_module
from surestep.metrics.report import section as section_module
from surestep.scored import ScoredSteps


def mixture(num_steps: int = 600, *, known_truth: bool = False) -> ScoredSteps:
    """Steps of two datasets whose labels differ in mean, and a third dataset without steps."""
    rng = np.random.default_rng(0)
    dataset = np.arange(num_steps) % 2
    truth = np.clip(0.2 + 0.6 * dataset + rng.normal(0, 0.1, num_steps), 0, 1)
    label = rng.choice([0.0, 0.5, 1.0], num_steps) * (rng.random(num_steps) < truth)
    return ScoredSteps.of_columns(
        confidence=np.clip(truth + rng.normal(0, 0.05, num_steps), 0, 1),
        label=label,
        dataset=dataset,
        dataset_names=("algebra", "logic", "empty"),
        problem=dataset * 10**6 + np.arange(num_steps) // 20,
        position=1 + np.arange(num_steps) % 7,
        true_confidence=truth if known_truth else np.full(num_steps, np.nan),
    )


def report(predictions: ScoredSteps, baseline: ConstantBaseline | None = None) -> Any:
    """As it is after a round trip through strict JSON, which refuses NaN."""
    return json.loads(json.dumps(build_report(predictions, baseline=baseline), allow_nan=False))


def test_every_section_holds_every_figure_and_the_counts() -> None:
    predictions = mixture()
    result = report(predictions)
    assert list(result["per_dataset"]) == ["algebra", "logic", "empty"]
    for section in (result["overall"], *result["per_dataset"].values()):
        assert set(FIGURES) <= set(section)
        assert sum(row["count"] for row in section["mae_by_label_range"]) == section["num_steps"]
        for table in section["reliability"].values():
            assert sum(row["count"] for row in table) == section["num_steps"]
    assert result["overall"]["num_steps"] == 600
    assert result["overall"]["num_problems"] == predictions.num_problems
    parts = [section["num_problems"] for section in result["per_dataset"].values()]
    assert sum(parts) == predictions.num_problems


def test_sections_hold_the_figures_of_their_own_steps() -> None:
    predictions = mixture()
    result = report(predictions)
    logic = predictions.for_dataset("logic")
    for name, figure in FIGURES.items():
        if name == "rms_calibration_error":  # its noise is that of problems
            continue
        assert result["overall"][name] == figure(predictions.confidence, predictions.label)
        assert result["per_dataset"]["logic"][name] == figure(logic.confidence, logic.label)


def test_a_dataset_without_steps_has_nulls_with_a_reason_and_harms_no_other() -> None:
    result = report(mixture())
    empty = result["per_dataset"]["empty"]
    assert empty["num_steps"] == empty["num_problems"] == 0
    assert [empty[name] for name in FIGURES] == [None] * len(FIGURES)
    assert set(empty["undefined"]) == set(FIGURES)
    assert set(empty["undefined"].values()) == {"there are no labelled steps"}
    assert empty["constant_baseline"]["constant"] is None
    assert empty["skill"] == {
        "against": "constant_baseline",
        "mse": None,
        "nll": None,
        "undefined": dict.fromkeys(("mse", "nll"), "there are no labelled steps"),
    }
    assert result["overall"]["r2_mean_per_dataset_over"] == ["algebra", "logic"]


def test_every_null_figure_has_a_reason_and_no_other_has() -> None:
    one_class = ScoredSteps.of_columns(
        confidence=np.array([0.5, 0.5]),
        label=np.array([1.0, 1.0]),
        dataset=np.array([0, 0]),
        dataset_names=("a",),
        problem=np.array([0, 0]),
        position=np.array([1, 2]),
    )
    overall = report(one_class)["overall"]
    nulls = {name for name in FIGURES if overall[name] is None}
    assert nulls == set(overall["undefined"])
    assert {"r2", "auroc", "average_precision", "average_precision_error"} <= nulls
    assert overall["mse"] == 0.25
    assert overall["skill"]["mse"] is None
    assert "is 0" in overall["skill"]["undefined"]["mse"]
    assert overall["r2_mean_per_dataset"] is None
    assert overall["r2_mean_per_dataset_over"] == []


def test_r2_mean_per_dataset_is_the_plain_mean_and_the_mixture_flatters() -> None:
    predictions = mixture()
    overall = report(predictions)["overall"]
    parts = [
        r2(part.confidence, part.label)
        for part in (predictions.for_dataset("algebra"), predictions.for_dataset("logic"))
    ]
    assert overall["r2_mean_per_dataset"] == pytest.approx(np.mean(parts))
    constants = np.array([predictions.for_dataset(n).label.mean() for n in ("algebra", "logic")])
    known_dataset = constants[predictions.dataset]
    assert overall["dataset_mean_baseline"]["r2"] == pytest.approx(r2(known_dataset, predictions.label))
    assert overall["dataset_mean_baseline"]["r2"] > overall["r2_mean_per_dataset"]
    assert "which dataset a step came from" in report(predictions)["notes"]["r2_mixture"]


def test_the_constant_is_the_training_mean_where_given_and_says_so() -> None:
    predictions = mixture()
    result = report(predictions, ConstantBaseline(per_dataset={"algebra": 0.25}, overall=0.6))
    algebra = result["per_dataset"]["algebra"]["constant_baseline"]
    logic = result["per_dataset"]["logic"]["constant_baseline"]
    assert (algebra["constant"], algebra["source"]) == (0.25, "training_mean")
    labels = predictions.for_dataset("logic").label
    assert (logic["constant"], logic["source"]) == (labels.mean(), "evaluated_mean")
    assert logic["r2"] == pytest.approx(0.0, abs=1e-12)
    overall = result["overall"]
    assert overall["constant_baseline"]["constant"] == 0.6
    assert overall["dataset_mean_baseline"]["source"] == "training_mean_where_known_else_evaluated_mean"
    constant = np.full(len(predictions), 0.6)
    for name, figure in (("mse", mse), ("nll", nll)):
        theirs = figure(constant, predictions.label)
        assert overall["constant_baseline"][name] == theirs
    # Skill over several datasets is against each dataset's own constant, as each dataset's skill is.
    own = np.where(predictions.dataset == 0, 0.25, labels.mean())
    assert overall["skill"]["against"] == "dataset_mean_baseline"
    for name, figure in (("mse", mse), ("nll", nll)):
        ours = figure(predictions.confidence, predictions.label)
        assert overall["skill"][name] == pytest.approx(1 - ours / figure(own, predictions.label))


def test_the_constant_itself_has_no_skill() -> None:
    predictions = mixture()
    means = np.array([predictions.for_dataset(name).label.mean() for name in ("algebra", "logic")])
    constant = ScoredSteps.of_columns(
        confidence=means[predictions.dataset],
        label=predictions.label,
        dataset=predictions.dataset,
        dataset_names=predictions.dataset_names,
        problem=predictions.problem,
        position=predictions.position,
    )
    skill = report(constant)["overall"]["skill"]
    assert skill["mse"] == skill["nll"] == 0.0


def test_truth_appears_only_where_it_is_known() -> None:
    assert "truth" not in report(mixture())["overall"]
    result = report(mixture(known_truth=True))
    # The confidences are the truth plus noise of standard deviation 0.05.
    assert result["overall"]["truth"]["regret"] == pytest.approx(0.05**2, rel=0.2)
    assert result["per_dataset"]["logic"]["truth"]["num_steps"] == 300
    assert "truth" not in result["per_dataset"]["empty"]


def test_the_notes_state_the_rules_for_soft_labels_and_bins() -> None:
    notes = report(mixture())["notes"]
    assert "label as it is" in notes["soft_labels"]
    assert "leaves labels of exactly 0.5 out" in notes["soft_labels"]
    assert "10 bins" in notes["ece"]
    assert "1.0 to the last" in notes["ece"]
    assert "1e-07" in notes["nll"]


def test_no_predictions_at_all_still_give_a_report() -> None:
    nothing = np.empty(0)
    result = report(ScoredSteps.of_columns(nothing, nothing, dataset_names=()))
    assert result["overall"]["num_steps"] == 0
    assert result["overall"]["mse"] is None
    assert result["per_dataset"] == {}


def test_metrics_need_no_torch() -> None:
    code = "import sys, surestep.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ranking_reads_the_raw_confidence_and_the_rest_the_calibrated_one() -> None:
    base = mixture()
    tied = base.with_confidence(np.round(base.confidence), base.confidence)
    result, raw, plain = report(tied)["overall"], report(base)["overall"], report(base.with_confidence(tied.confidence))
    assert (result["auroc"], result["average_precision_error"]) == (raw["auroc"], raw["average_precision_error"])
    assert result["auroc"] != plain["overall"]["auroc"]
    assert (result["mse"], result["ece"]) == (plain["overall"]["mse"], plain["overall"]["ece"])


def test_intervals_and_baselines_of_a_mixture_with_an_empty_dataset_and_known_truth() -> None:
    part = mixture(known_truth=True)
    known = ConstantBaseline(per_dataset={"algebra": 0.1}, overall=0.4)
    result = json.loads(
        json.dumps(build_report(part, baseline=known, baselines=[], resamples=30, seed=1), allow_nan=False)
    )
    assert [row["name"] for row in result["baselines"]] == ["training mean", "dataset mean"]
    assert "for logic the mean of the labels evaluated here" in result["baselines"][1]["about"]
    assert [sorted(row["per_dataset"]) for row in result["baselines"]] == [["algebra", "logic"]] * 2
    assert result["per_dataset"]["empty"]["no_intervals"].startswith("0 problems")
    truth = result["overall"]["truth"]
    assert set(truth["intervals"]) <= set(truth)
    assert truth["intervals"]["regret"]["low"] < truth["regret"] < truth["intervals"]["regret"]["high"]
    mean = result["overall"]["r2_mean_per_dataset_interval"]
    assert mean["low"] < result["overall"]["r2_mean_per_dataset"] < mean["high"]
    assert {line.split(":")[0] for line in result["verdict"]} == {"algebra", "logic", "overall"}


@pytest.mark.slow
def test_regret_by_part_is_the_regret_of_its_trees_and_adds_only_its_key() -> None:
    part = mixture(known_truth=True)
    parts = ["odd" if tree % 2 else "" if tree % 4 else "fourth" for tree in range(len(part.tree_ids))]
    plain = json.loads(json.dumps(build_report(part, resamples=30, seed=1), allow_nan=False))
    found = json.loads(json.dumps(build_report(part, part_of_tree=parts, resamples=30, seed=1), allow_nan=False))
    rows = found["overall"].pop("truth_by_part")
    assert [row["part"] for row in rows] == ["fourth", "odd"]
    of_tree = np.array(parts)[part.tree]
    for row in rows:
        mine = (of_tree == row["part"]) & ~np.isnan(part.label)
        assert row["num_steps"] == mine.sum()
        expected = np.mean((part.confidence[mine] - part.true_confidence[mine]) ** 2)
        assert row["regret"] == pytest.approx(expected)
        assert row["intervals"]["regret"]["low"] <= row["regret"] <= row["intervals"]["regret"]["high"]
    assert found["overall"].keys() == plain["overall"].keys()


def test_the_section_of_all_steps_takes_the_draws_of_the_only_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    """One dataset is drawn once, as is its comparison with constants; several once each and once together."""
    drawn: list[int] = []

    def counting(measures: Sequence[Measure], draws: Draws) -> None:
        drawn.append(draws.num_problems)
        resample(measures, draws)

    monkeypatch.setattr(section_module, "resample", counting)
    monkeypatch.setattr(baselines_module, "resample", counting)
    steps = mixture(200)
    only = steps.for_dataset("algebra")
    found: Any = build_report(only, baselines=[], resamples=20)
    assert drawn == [10, 10]
    of_dataset = found["per_dataset"]["algebra"]
    assert of_dataset["intervals"]
    assert {name: value for name, value in found["overall"].items() if name in of_dataset} == of_dataset
    drawn.clear()
    build_report(steps, baselines=[], resamples=20)
    assert sorted(drawn) == [10, 10, 10, 10, 20, 20]

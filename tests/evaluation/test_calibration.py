"""A calibration in evaluation and what it is fitted on: own maps, raw scores for rankings, whole questions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from runs import read_lines
from surestep.calibration import Calibration, Identity, Isotonic, Platt, Temperature
from surestep.config import Config
from surestep.data.records.reading_report import ReadReport
from surestep.data.sources.choose import enabled_sources
from surestep.data.trees.identity import problem_key
from surestep.errors import DataError
from surestep.evaluation.calibrate import WITHIN_FOLDS, calibrate
from surestep.evaluation.evaluate import evaluate_checkpoint
from surestep.scoring.build_model import BuiltModel
from surestep.scoring.checkpoint.load import LoadedCheckpoint, load_checkpoint
from surestep.scoring.checkpoint.save import save_checkpoint
from surestep.scoring.stored_split import silent

STORED = Calibration(Temperature(2.0), {"own": Platt(0.5, -1.0)})


@pytest.fixture
def loaded(run_config: Callable[..., Config], build_small: Callable[..., BuiltModel], tmp_path: Path) -> Any:
    """A model that answers to what it reads, over two datasets, with the calibration that a test asks for."""

    def make(calibration: Calibration | None, **settings: Any) -> LoadedCheckpoint:
        config = run_config(use_prm800k=True, prm800k_phase=1, save_predictions=True, report=False, **settings)
        built = build_small(config=config)
        built.calibration = calibration
        folder = tmp_path / "checkpoint_step_1"
        save_checkpoint(folder, built, config, step=1, label_means={})
        return load_checkpoint(folder, config=config)

    return make


@pytest.fixture
def evaluate(tmp_path: Path) -> Callable[..., tuple[dict[str, Any], list[dict[str, Any]]]]:
    def run(loaded: LoadedCheckpoint, **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        result = evaluate_checkpoint(
            loaded, loaded.config, split="test", output_dir=tmp_path / "result", progress=silent, **options
        )
        return json.loads(result.path.read_text()), read_lines(result.path.parent / "predictions.jsonl.gz")

    return run


@pytest.mark.slow
def test_the_pooled_map_is_the_default_and_a_datasets_own_is_asked_for(
    loaded: Callable[..., LoadedCheckpoint], evaluate: Callable[..., Any]
) -> None:
    found = loaded(STORED)
    maps = {
        "pooled": {"own": STORED.pooled, "prm800k": STORED.pooled},
        "dataset": {"own": STORED.datasets["own"], "prm800k": STORED.pooled},
        "none": {"own": Identity(), "prm800k": Identity()},
    }
    used = {"pooled": {"own": "pooled", "prm800k": "pooled"}, "dataset": {"own": "own", "prm800k": "pooled"}}
    raw = [row["confidence"] for row in evaluate(found, calibration="none")[1]]
    for use, expected in maps.items():
        report, rows = evaluate(found, calibration=use)
        assert report["calibration"]["applied"] == use
        assert report["calibration"].get("used") == used.get(use)
        for row, before in zip(rows, raw, strict=True):
            assert row.get("raw_confidence", row["confidence"]) == before
            assert row["confidence"] == pytest.approx(float(expected[row["dataset"]].apply(before)), abs=1e-15)
    assert evaluate(found)[0]["calibration"] == evaluate(found, calibration="pooled")[0]["calibration"]


@pytest.mark.slow
def test_before_and_after_follow_from_the_rows(
    loaded: Callable[..., LoadedCheckpoint], evaluate: Callable[..., Any]
) -> None:
    report, rows = evaluate(loaded(STORED))
    labelled = [row for row in rows if row["label"] is not None]
    for name in (None, "own", "prm800k"):
        mine = [row for row in labelled if name in (None, row["dataset"])]
        label = np.array([row["label"] for row in mine])
        for when, column in (("before", "raw_confidence"), ("after", "confidence")):
            figures = report["calibration"][when]
            section = figures["overall"] if name is None else figures["per_dataset"][name]
            p = np.array([row[column] for row in mine])
            assert section["mse"] == pytest.approx(float(np.mean((p - label) ** 2)), rel=1e-12)
            nll = -np.mean(label * np.log(p) + (1 - label) * np.log(1 - p))
            assert section["nll"] == pytest.approx(float(nll), rel=1e-12)
        section = report["overall"] if name is None else report["per_dataset"][name]
        assert section["nll"] == pytest.approx(float(nll), rel=1e-12)


@pytest.mark.slow
def test_rankings_go_by_the_raw_score(loaded: Callable[..., LoadedCheckpoint], evaluate: Callable[..., Any]) -> None:
    """A map that makes all confidences one takes no order from the model."""
    report, rows = evaluate(loaded(Calibration(Isotonic((0.5,), (0.7,), 0.01))))
    labelled = [row for row in rows if row["label"] is not None]
    assert {row["confidence"] for row in rows} == {0.7}
    auroc = roc_auc_score([row["label"] >= 0.5 for row in labelled], [row["raw_confidence"] for row in labelled])
    assert report["overall"]["auroc"] == pytest.approx(auroc)
    assert report["overall"]["auroc"] != 0.5


@pytest.mark.slow
def test_a_map_that_changes_nothing_is_still_a_map(
    loaded: Callable[..., LoadedCheckpoint], evaluate: Callable[..., Any]
) -> None:
    report, rows = evaluate(loaded(Calibration(Identity())))
    assert report["calibration"]["stored"]
    assert report["calibration"]["before"] == report["calibration"]["after"]
    assert all(row["raw_confidence"] == row["confidence"] for row in rows)


@pytest.mark.slow
def test_calibration_scores_every_label_of_validation_without_the_stored_map(
    loaded: Callable[..., LoadedCheckpoint],
) -> None:
    # A fifth of the small PRM800K's problems are held out, and all of our own validation file.
    plain, stored = loaded(None), loaded(STORED)
    results = [calibrate(found.built, found.config, methods=("platt",), progress=silent) for found in (plain, stored)]
    assert results[0].calibration.to_json()["pooled"] == results[1].calibration.to_json()["pooled"]
    about = results[0].calibration.about
    sources = enabled_sources(plain.config.data, "validation", seed=plain.config.training.seed)
    for source in sources:
        trees = list(source.read(ReadReport()))
        found = about["datasets"][source.name]
        assert found["num_steps"] == sum(tree.num_labels for tree in trees)
        assert found["num_problems"] == len({problem_key(tree) for tree in trees})
    assert about["num_steps"] == sum(found["num_steps"] for found in about["datasets"].values())
    assert set(results[0].held_out) == {"identity", "platt", WITHIN_FOLDS}
    json.dumps(about, allow_nan=False)


def test_choices_of_one_question_are_one_problem(loaded: Callable[..., LoadedCheckpoint]) -> None:
    """Their chains share the question, so a fold must not hold some of them while another holds the rest."""
    found = loaded(None, use_eqasc=True, use_own=True)
    sources = enabled_sources(found.config.data, "validation", seed=found.config.training.seed)
    trees = [tree for source in sources if source.name == "eqasc" for tree in source.read(ReadReport())]
    about = calibrate(found.built, found.config, methods=("platt",), progress=silent).calibration.about
    assert about["datasets"]["eqasc"]["num_problems"] == len({tree.group for tree in trees}) < len(trees)


def test_a_problem_of_two_datasets_is_one_problem(loaded: Callable[..., LoadedCheckpoint], tmp_path: Path) -> None:
    found = loaded(None)
    data = found.config.data
    sources = enabled_sources(data, "validation", seed=found.config.training.seed)
    problems = {source.name: [tree.problem for tree in source.read(ReadReport())] for source in sources}
    rows = read_lines(Path(str(data.own_validation)))
    rows[0]["problem"] = problems["prm800k"][0]
    data.own_validation = tmp_path / "shared.jsonl"
    data.own_validation.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    about = calibrate(found.built, found.config, methods=("platt",), progress=silent).calibration.about
    each = [found["num_problems"] for found in about["datasets"].values()]
    assert about["num_problems"] == sum(each) - 1


def test_too_few_labels_are_refused(loaded: Callable[..., LoadedCheckpoint]) -> None:
    found = loaded(None, use_own=False)
    with pytest.raises(DataError, match="too few"):
        calibrate(found.built, found.config, methods=("platt",), progress=silent)


@pytest.mark.slow
def test_figures_on_the_very_steps_that_the_map_was_fitted_on_are_marked(
    loaded: Callable[..., LoadedCheckpoint], tmp_path: Path
) -> None:
    """Also where the file goes by another split."""
    found = loaded(None)
    config = found.config
    found.built.calibration = calibrate(found.built, config, methods=("platt",), progress=silent).calibration

    def marked(split: Any) -> list[str]:
        result = evaluate_checkpoint(found, config, split=split, output_dir=tmp_path / "r", progress=silent)
        names: list[str] = result.report["calibration"]["fitted_on_these"]
        return names

    assert sorted(marked("validation")) == ["own", "prm800k"]
    assert marked("test") == []
    config.data.own_test = config.data.own_validation
    assert marked("test") == ["own"]

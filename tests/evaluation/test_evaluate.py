"""Every step of a split, scored once, and numbers that can be recomputed from the predictions."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from runs import Watcher, count_labels, hashes, read_lines
from surestep.config import Config, EvalConfig
from surestep.data.synthetic.arithmetic import part_of_id
from surestep.errors import DataError, StorageError
from surestep.evaluation.evaluate import default_output_dir, evaluate_checkpoint, evaluate_predictions
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.scoring.stored_split import silent
from surestep.training.run import train


@pytest.fixture(scope="module")
def trained(
    small_config: Callable[..., Config], run_files: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Config]:
    """The configuration of a finished run over two datasets, whose training limits cut the trees."""
    config = small_config(lora=True).model_copy(deep=True)
    config.output_dir = tmp_path_factory.mktemp("trained") / "outputs"
    config.data.data_dir, config.data.cache_dir = run_files, run_files / "cache"
    config.data.use_prm800k, config.data.prm800k_phase = True, 1
    config.data.use_eqasc = False
    config.data.use_own = True
    config.data.own_train = run_files / "train.jsonl"
    config.data.own_validation = run_files / "validation.jsonl"
    config.data.own_test = run_files / "test.jsonl"
    config.data.max_length, config.data.max_steps_per_example = 60, 2
    config.training.max_steps, config.training.warmup_steps = 3, 0
    config.training.learning_rate = 1e-2
    config.training.tensorboard = False
    train(config, Watcher())
    return lambda: config.model_copy(deep=True)


@pytest.fixture
def evaluate(trained: Callable[[], Config], tmp_path: Path) -> Callable[..., Any]:
    def run(split: Any = "test", **settings: Any) -> Any:
        config = trained()
        config.eval.save_predictions = True
        config.eval.report = False
        for name, value in settings.items():
            setattr(config.data if name in type(config.data).model_fields else config.eval, name, value)
        loaded = load_checkpoint(config.experiment_dir / "checkpoint_step_3", config=config)
        return evaluate_checkpoint(loaded, config, split=split, output_dir=tmp_path / "result", progress=silent)

    return run


@pytest.mark.slow
def test_every_labelled_step_of_the_files_is_scored_once(evaluate: Callable[..., Any], run_files: Path) -> None:
    """Also those that the training limits would have cut."""
    result = evaluate()
    assert result.path.name == "eval_metrics.json"
    report = json.loads(result.path.read_text())
    assert report == json.loads(json.dumps(result.report))
    assert report["split"] == "test"
    own = count_labels(run_files / "test.jsonl")
    prm800k = sum(
        completion["rating"] is not None
        for record in read_lines(run_files / "prm800k" / "phase1_test.jsonl")
        for step in record["label"]["steps"]
        for completion in step["completions"]
    )
    assert report["per_dataset"]["own"]["num_steps"] == own
    assert report["per_dataset"]["prm800k"]["num_steps"] == prm800k
    assert report["overall"]["num_steps"] == own + prm800k
    assert report["per_dataset"]["own"]["num_problems"] == 15
    assert {found["labels_beyond_position_limit"] for found in report["datasets"].values()} == {0}


@pytest.mark.slow
def test_the_figures_follow_from_the_predictions(evaluate: Callable[..., Any]) -> None:
    result = evaluate()
    rows = read_lines(result.path.parent / "predictions.jsonl.gz")
    assert len(rows) == result.num_predictions
    assert len({(row["dataset"], row["problem_id"], row["step"]) for row in rows}) == len(rows)
    labelled = [row for row in rows if row["label"] is not None]
    assert len(rows) - len(labelled) == result.report["num_steps_without_label"] == 15
    for name in ("own", "prm800k"):
        mine = [row for row in labelled if row["dataset"] == name]
        p, y = (np.array([row[key] for row in mine]) for key in ("confidence", "label"))
        section = result.report["per_dataset"][name]
        assert section["mse"] == pytest.approx(np.mean((p - y) ** 2), rel=1e-9)
        assert section["mae"] == pytest.approx(np.mean(np.abs(p - y)), rel=1e-9)
        nll = [-(label * math.log(c) + (1 - label) * math.log(1 - c)) for c, label in zip(p, y, strict=True)]
        assert section["nll"] == pytest.approx(np.mean(nll), rel=1e-9)
        assert section["auroc"] == pytest.approx(roc_auc_score(y >= 0.5, p), rel=1e-9)


@pytest.mark.slow
def test_soft_labels_are_kept_as_they_are(evaluate: Callable[..., Any], run_files: Path) -> None:
    result = evaluate()
    found = {row["label"] for row in read_lines(result.path.parent / "predictions.jsonl.gz") if row["dataset"] == "own"}
    written = {
        step.get("confidence")
        for record in read_lines(run_files / "test.jsonl")
        for outer in record["steps"]
        for step in [outer, *outer.get("alternatives", [])]
    }
    assert found == written
    assert 0.3 in found


def test_predictions_place_every_step_in_its_tree(evaluate: Callable[..., Any], run_files: Path) -> None:
    rows = [row for row in read_lines(evaluate().path.parent / "predictions.jsonl.gz") if row["dataset"] == "own"]
    records = {record["problem"]: record for record in read_lines(run_files / "test.jsonl")}
    by_step = {(row["problem"], row["step"]): row for row in rows}
    for row in rows:
        parent = by_step.get((row["problem"], row["parent"]))
        assert row["position"] == (1 if parent is None else parent["position"] + 1)
        texts = [
            {step["text"], *(other["text"] for other in step.get("alternatives", []))}
            for step in records[row["problem"]]["steps"]
        ]
        assert row["text"] in texts[row["position"] - 1]


def test_the_constant_is_the_training_mean(evaluate: Callable[..., Any], trained: Callable[[], Config]) -> None:
    report = evaluate().report
    data = json.loads((trained().experiment_dir / "data_report.json").read_text())["datasets"]
    for name, section in report["per_dataset"].items():
        assert section["constant_baseline"]["source"] == "training_mean"
        assert section["constant_baseline"]["constant"] == pytest.approx(data[name]["label_mean"])
    total = sum(found["labels"] for found in data.values())
    mean = sum(found["label_mean"] * found["labels"] for found in data.values()) / total
    assert report["overall"]["constant_baseline"]["constant"] == pytest.approx(mean)


@pytest.mark.slow
def test_the_validation_split_gives_what_training_left(
    evaluate: Callable[..., Any], trained: Callable[[], Config]
) -> None:
    found = evaluate("validation").report
    left = json.loads((trained().validation_dir / "eval_metrics.json").read_text())
    assert found["split"] == left["split"] == "validation"
    for name, section in left["per_dataset"].items():
        for figure in ("num_steps", "mse", "ece", "auroc", "nll"):
            assert found["per_dataset"][name][figure] == section[figure]


@pytest.mark.slow
def test_our_own_predictions_give_the_same_figures_again(evaluate: Callable[..., Any], tmp_path: Path) -> None:
    first = evaluate()
    settings = EvalConfig(bootstrap_resamples=20)
    again = evaluate_predictions(
        first.path.parent / "predictions.jsonl.gz", output_dir=tmp_path / "again", settings=settings
    )
    for name in ("own", "prm800k"):
        mine, theirs = first.report["per_dataset"][name], again.report["per_dataset"][name]
        assert mine.keys() == theirs.keys()
        # A file of predictions knows no training mean, so what is compared with the constant differs.
        of_constant = {"constant_baseline", "skill", "assessment", "undefined", "truth", "beats_baselines"}
        for figure in mine.keys() - of_constant:
            assert mine[figure] == theirs[figure], figure
        assert mine["assessment"]["calibration"] == theirs["assessment"]["calibration"]
    assert again.report["num_steps_without_label"] == first.report["num_steps_without_label"]
    assert json.loads((tmp_path / "again" / "eval_metrics.json").read_text())["split"] == "as given"


@pytest.mark.slow
def test_the_token_budget_changes_no_score(evaluate: Callable[..., Any]) -> None:
    whole = evaluate(eval_token_budget=4096).report["overall"]
    cut = evaluate(eval_token_budget=50).report["overall"]
    for figure in ("num_steps", "mse", "nll", "auroc"):
        assert cut[figure] == pytest.approx(whole[figure], rel=1e-5)


def test_steps_beyond_the_position_limit_are_counted(evaluate: Callable[..., Any], tmp_path: Path) -> None:
    long = {"problem": "count", "steps": [{"text": f"number {n} " * 20, "confidence": 1.0} for n in range(8)]}
    short = {"problem": "add", "steps": [{"text": "one", "confidence": 0.0}]}
    path = tmp_path / "long.jsonl"
    path.write_text(json.dumps(long) + "\n" + json.dumps(short) + "\n", encoding="utf-8")
    report = evaluate(own_test=path, use_prm800k=False).report
    counts = report["datasets"]["own"]
    assert counts["labels_beyond_position_limit"] > 0
    assert counts["steps_scored"] + counts["steps_beyond_position_limit"] == 9
    assert report["overall"]["num_steps"] + counts["labels_beyond_position_limit"] == 9


@pytest.mark.slow
def test_arithmetic_is_compared_with_its_known_truth(evaluate: Callable[..., Any]) -> None:
    settings = {"use_arithmetic": True, "arithmetic_eval_problems": 20, "use_own": False, "use_prm800k": False}
    result = evaluate(**settings)
    assert result.report["overall"]["truth"] is not None
    rows = read_lines(result.path.parent / "predictions.jsonl.gz")
    regret = np.mean([(row["confidence"] - row["true_confidence"]) ** 2 for row in rows])
    assert result.report["per_dataset"]["arithmetic"]["truth"]["regret"] == pytest.approx(regret, rel=1e-6)
    parts = {row["part"]: row for row in result.report["per_dataset"]["arithmetic"]["truth_by_part"]}
    assert parts.keys() == {part_of_id(row["problem_id"]) for row in rows}
    assert sum(row["num_steps"] for row in parts.values()) == len(rows)
    for name, part in parts.items():
        mine = [row for row in rows if part_of_id(row["problem_id"]) == name]
        for key, is_in in (("regret_clean", {True}), ("regret_noisy", {False}), ("regret", {True, False})):
            errors = [
                (row["confidence"] - row["true_confidence"]) ** 2
                for row in mine
                if (row["true_confidence"] in (0.0, 1.0)) in is_in
            ]
            expected = pytest.approx(np.mean(errors), rel=1e-6) if errors else None
            assert part[key] == expected
            if key in part.get("intervals", {}):
                assert part["intervals"][key]["low"] <= part[key] <= part["intervals"][key]["high"]


def test_predictions_are_kept_unless_declined(evaluate: Callable[..., Any], trained: Callable[[], Config]) -> None:
    assert EvalConfig().save_predictions
    assert len(read_lines(trained().validation_dir / "predictions.jsonl.gz")) > 0
    result = evaluate(save_predictions=False)
    assert result.num_predictions is None
    assert sorted(path.name for path in result.path.parent.iterdir()) == ["eval_metrics.json"]


def test_a_missing_test_file_is_named_and_nothing_written(evaluate: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jsonl"):
        evaluate(own_test=tmp_path / "gone.jsonl")
    assert not (tmp_path / "result").exists()


def test_a_folder_that_cannot_be_written_is_one_line(evaluate: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "result").write_text("in the way")
    with pytest.raises(StorageError, match="--output_dir"):
        evaluate()


@pytest.mark.slow
def test_evaluating_leaves_the_checkpoint_as_it_is(evaluate: Callable[..., Any], trained: Callable[[], Config]) -> None:
    before = hashes(trained().experiment_dir)
    evaluate()
    assert hashes(trained().experiment_dir) == before


@pytest.mark.slow
def test_a_checkpoint_is_evaluated_alike_wherever_it_lies(
    evaluate: Callable[..., Any], trained: Callable[[], Config], tmp_path: Path
) -> None:
    config = trained()
    moved = tmp_path / "elsewhere" / "checkpoint_step_3"
    shutil.copytree(config.experiment_dir / "checkpoint_step_3", moved)
    result = evaluate_checkpoint(
        load_checkpoint(moved), config, split="test", output_dir=tmp_path / "moved", progress=silent
    )
    assert result.report["overall"] == evaluate().report["overall"]


def test_results_go_below_the_validation_result_of_training(trained: Callable[[], Config]) -> None:
    config = trained()
    found = default_output_dir(config.validation_dir, config.experiment_dir / "checkpoint_step_3")
    assert found == config.output_dir / f"eval_{config.experiment_name}" / "checkpoint_step_3"
    assert found.parent == config.validation_dir

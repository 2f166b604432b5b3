"""A whole run: what it leaves behind, and starting from a trained checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from runs import Watcher, hashes, read_lines, tensors
from surestep.calibration import Calibration, Temperature
from surestep.config import Config, get_default_config
from surestep.errors import CheckpointError, ConfigError, DeviceError
from surestep.scoring.checkpoint.calibration_file import read_calibration, store_calibration
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.scoring.checkpoint.manifest import read_manifest
from surestep.training.run import train


@pytest.mark.slow
def test_a_run_leaves_its_configuration_logs_report_and_validation(run_config: Callable[..., Config]) -> None:
    config = run_config(use_eqasc=True, eval_steps=3)
    watcher = Watcher()
    trained = train(config, watcher)
    folder = config.experiment_dir
    assert Config.from_json(folder / "config.json").to_dict() == config.to_dict()
    assert Config.from_json(folder / "checkpoint_step_6" / "config.json").to_dict() == config.to_dict()
    assert set(json.loads((folder / "data_report.json").read_text())["datasets"]) == {"own", "eqasc"}
    kinds = [line["kind"] for line in read_lines(folder / "metrics.jsonl") if line["kind"] != "note"]
    assert kinds == ["step"] * 3 + ["validation"] + ["step"] * 3 + ["validation", "checkpoint"]
    # `--output_dir/eval_<experiment>/eval_metrics.json`: what comparing runs reads.
    report = json.loads((config.output_dir / f"eval_{config.experiment_name}" / "eval_metrics.json").read_text())
    assert report == trained.validation
    assert report["split"] == "validation"
    assert 0.0 < report["overall"]["mse"] < 1.0
    assert set(report["per_dataset"]) == {"own", "eqasc"}


@pytest.mark.slow
def test_the_validation_report_covers_the_whole_validation_set_and_the_training_constant(
    run_config: Callable[..., Config],
) -> None:
    config = run_config(validation_samples=2, use_eqasc=True)
    trained = train(config, Watcher())
    data = json.loads((config.experiment_dir / "data_report.json").read_text())
    assert trained.validation is not None
    for name, section in trained.validation["per_dataset"].items():
        assert section["num_steps"] == data["validation"][name]["labels"]
        assert trained.validation["datasets"][name]["problems"] == data["validation"][name]["problems"]
        assert section["num_problems"] == data["validation"][name]["problems"]
    # eQASC has a tree for each choice of a question; the choices of one question are one problem.
    assert data["validation"]["eqasc"]["problems"] == data["validation"]["eqasc"]["trees"] / 2
    labels = {name: (found["label_mean"], found["labels"]) for name, found in data["datasets"].items()}
    mean = sum(m * n for m, n in labels.values()) / sum(n for _, n in labels.values())
    manifest = read_manifest(trained.result.last, with_state=True)
    assert manifest.label_mean == pytest.approx(mean)
    assert manifest.label_means == {name: pytest.approx(m) for name, (m, _) in labels.items()}
    # The constant is the training mean, also over all datasets: a constant fitted here would look unbeatable.
    constant = trained.validation["overall"]["constant_baseline"]
    assert constant["source"] == "training_mean"
    assert constant["constant"] == pytest.approx(mean)


@pytest.mark.slow
def test_losses_go_down(run_config: Callable[..., Config]) -> None:
    watcher = Watcher()
    train(run_config(lora=False, max_steps=40, logging_steps=10, max_train_samples=4, learning_rate=3e-3), watcher)
    losses = [record.loss for record in watcher.of("logged")]
    assert losses[-1] < losses[0] - 0.1


def test_an_untrained_model_starts_at_the_mean_label(run_config: Callable[..., Config]) -> None:
    config = run_config(max_steps=1, learning_rate=1e-9)
    trained = train(config, Watcher())
    data = json.loads((config.experiment_dir / "data_report.json").read_text())
    assert trained.validation is not None
    mean = trained.validation["overall"]["mean_confidence"]
    assert mean == pytest.approx(data["datasets"]["own"]["label_mean"], abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("lora", [True, False])
def test_a_curriculum_starts_from_the_weights_of_the_phase_before(
    run_config: Callable[..., Config], lora: bool
) -> None:
    only = {"use_own": False, "use_prm800k": True, "lora": lora}
    first = run_config(experiment_name="phase-1", prm800k_phase=1, **only)
    train(first, Watcher())
    checkpoint = first.experiment_dir / "checkpoint_step_6"
    second = run_config(
        experiment_name="phase-2", prm800k_phase=2, init_from=checkpoint, max_steps=4, learning_rate=1e-9, **only
    )
    watcher = Watcher()
    before = hashes(first.experiment_dir)
    train(second, watcher)
    assert watcher.of("started") == [(0, 4)]
    assert hashes(first.experiment_dir) == before
    # With no learning to speak of, phase 2 ends where phase 1 ended, not where a new model starts.
    mine, theirs = tensors(second.experiment_dir / "checkpoint_step_4"), tensors(checkpoint)
    for name, value in theirs.items():
        if "training_state" not in name:
            torch.testing.assert_close(mine[name], value, rtol=1e-5, atol=1e-7, msg=name)
    fresh = run_config(experiment_name="fresh", prm800k_phase=2, max_steps=1, learning_rate=1e-9, **only)
    train(fresh, Watcher())
    new = tensors(fresh.experiment_dir / "checkpoint_step_1")
    assert any(not torch.allclose(new[n], v, atol=1e-4) for n, v in theirs.items() if "training_state" not in n)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lora": False}, ["lora checkpoint", "lora.use_lora is False"]),
        ({"mlp_hidden_dims": [24]}, ["head.safetensors", "head."]),
        ({"mlp_hidden_dims": [16, 16]}, ["head.safetensors"]),
        ({"lora_r": 8}, ["adapter"]),
        ({"init_from": "nowhere"}, ["nowhere", "no such checkpoint"]),
    ],
)
def test_a_start_that_does_not_fit_is_refused_in_one_line(
    run_config: Callable[..., Config], change: dict[str, Any], words: list[str]
) -> None:
    first = run_config(experiment_name="first", max_steps=1)
    train(first, Watcher())
    second = run_config(experiment_name="second", **{"init_from": first.experiment_dir / "checkpoint_step_1", **change})
    with pytest.raises(CheckpointError) as caught:
        train(second, Watcher())
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    assert not second.experiment_dir.exists()


@pytest.mark.slow
def test_early_stopping_saves_where_it_stops_and_reports_the_best(
    run_config: Callable[..., Config], validations_give: Callable[..., None]
) -> None:
    config = run_config(max_steps=60, eval_steps=1, save_steps=3, early_stopping_patience=3)
    validations_give([0.5, 0.6, 0.4, 0.41, 0.4, 0.42, 0.1])  # equal is no better
    watcher = Watcher()
    trained = train(config, watcher)
    assert trained.result.early
    assert trained.result.steps == 6
    assert trained.result.last.name == "checkpoint_step_6"
    assert trained.result.best.name == "checkpoint_step_3"
    assert trained.validation is not None
    assert trained.validation["checkpoint"].endswith("checkpoint_step_3")


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "better"), [("auroc", max), ("r2", max), ("mse", min), ("ece", min)])
def test_the_best_checkpoint_follows_the_chosen_metric(run_config: Callable[..., Config], metric: str, better) -> None:
    config = run_config(max_steps=5, eval_steps=1, save_steps=1, best_metric=metric, learning_rate=0.05)
    watcher = Watcher()
    trained = train(config, watcher)
    values = {record.step: record.value for record in watcher.of("validated")}
    assert values[int(trained.result.best.name.removeprefix("checkpoint_step_"))] == better(values.values())


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"device": "cuda"}, DeviceError),
        ({"device": "auto", "mixed_precision": "fp16"}, DeviceError),
        ({"device": "auto", "attention": "varlen"}, DeviceError),
        ({"device": "auto", "attention": "flex"}, DeviceError),
        ({"device": "cpu", "attention": "flex"}, ConfigError),
        ({"device": "cpu", "mixed_precision": "fp16"}, ConfigError),
    ],
)
def test_a_gpu_option_without_a_gpu_is_refused_before_anything_is_written(
    run_config: Callable[..., Config], settings: dict[str, str], error: type[Exception], monkeypatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = run_config(**settings)
    with pytest.raises(error):
        train(config, Watcher())
    assert not config.experiment_dir.exists()


def test_every_contradiction_is_named_at_once() -> None:
    config = get_default_config()
    config.data.use_prm800k = config.data.use_eqasc = False
    config.training.device, config.training.mixed_precision = "cpu", "fp16"
    with pytest.raises(ConfigError) as caught:
        train(config, Watcher())
    assert len(caught.value.problems) == 2


@pytest.mark.slow
@pytest.mark.parametrize("resume", [False, True])
def test_a_calibration_is_not_carried_on_and_that_is_said(run_config: Callable[..., Config], resume: bool) -> None:
    config = run_config(experiment_name="first", max_steps=2, save_steps=2)
    first = Watcher()
    train(config, first)
    start = config.experiment_dir / "checkpoint_step_2"
    calibration = Calibration(Temperature(3.0))
    store_calibration(start, read_manifest(start, with_state=False), calibration)
    if resume:
        config.training.max_steps = 4
    else:
        config = run_config(experiment_name="second", max_steps=2, init_from=start)
    watcher = Watcher()
    trained = train(config, watcher, resume=resume)
    assert any(f"the calibration of {start} is not carried on" in line for line in watcher.of("say"))
    assert not any("calibration" in line for line in first.of("say"))
    assert read_calibration(trained.result.last) is None
    assert load_checkpoint(trained.result.last).built.calibration is None
    assert read_calibration(start) == calibration, "it still fits the weights that it was fitted for"

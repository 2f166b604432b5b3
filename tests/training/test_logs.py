"""The log files of a run."""

from __future__ import annotations

import io
import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from runs import Watcher, read_lines
from surestep.cli.output.progress import TrainingDisplay
from surestep.config import Config
from surestep.training.events.log import Interval
from surestep.training.events.records import StepRecord
from surestep.training.events.run_log import RunLog
from surestep.training.loss import step_losses
from surestep.training.optimizer_step import OptimizerStep, Update
from surestep.training.run import train
from surestep.training.step_data import StepPacks, TrainingPack


def test_lines_beyond_the_resumed_step_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"kind": "step", "step": 5}\n{"kind": "step", "step": 6}\nhalf a li', encoding="utf-8")
    RunLog(tmp_path, resumed_step=5)
    assert [line["step"] for line in read_lines(path)] == [5]


def test_a_new_run_starts_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"kind": "step", "step": 0}\n', encoding="utf-8")
    RunLog(tmp_path, resumed_step=0)
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_every_line_is_on_disk_as_soon_as_it_is_said(tmp_path: Path) -> None:
    log = RunLog(tmp_path, resumed_step=0)
    log.say("first")
    log._step = 3
    log.saved(tmp_path / "checkpoint_step_3")
    assert read_lines(log.path) == [
        {"kind": "note", "step": 0, "text": "first"},
        {"kind": "checkpoint", "step": 3, "folder": "checkpoint_step_3"},
    ]


@pytest.mark.slow
def test_speeds_count_training_only(run_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    """A validation in the middle of an interval takes no time from it and hides no step of it."""
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    ran = OptimizerStep.__call__

    def timed(self: OptimizerStep, packs: StepPacks) -> Update:
        clock[0] += 1.0
        return ran(self, packs)

    monkeypatch.setattr(OptimizerStep, "__call__", timed)

    class Timed(Watcher):
        def validated(self, record: object) -> None:
            clock[0] += 1000.0

    watcher = Timed()
    config = run_config(max_steps=6, logging_steps=3, eval_steps=2)
    train(config, watcher)
    for record in watcher.of("logged"):
        assert record.labels_per_s == pytest.approx(sum(record.labels.values()) / 3)


@pytest.mark.slow
def test_tensorboard_holds_the_same_losses(run_config: Callable[..., Config]) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = run_config(max_steps=3)
    config.training.tensorboard = True
    watcher = Watcher()
    train(config, watcher)
    events = EventAccumulator(str(config.experiment_dir / "tensorboard"))
    events.Reload()
    found = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert found == [(record.step, pytest.approx(record.loss, rel=1e-6)) for record in watcher.of("logged")]
    assert "validation/nll/mean" in events.Tags()["scalars"]


@pytest.mark.slow
def test_the_rate_of_every_group_is_logged_everywhere(run_config: Callable[..., Config]) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = run_config(max_steps=3, warmup_steps=2, learning_rate=2e-4, head_learning_rate=4e-3)
    config.training.tensorboard = True
    screen = Console(file=io.StringIO(), width=200)
    train(config, TrainingDisplay(screen))
    lines = [line for line in read_lines(config.experiment_dir / "metrics.jsonl") if line["kind"] == "step"]
    for line, factor in zip(lines, (0.5, 1.0, 1.0), strict=True):
        assert line["learning_rates"] == pytest.approx({"backbone": 2e-4 * factor, "head": 4e-3 * factor})
        assert line["learning_rate"] == line["learning_rates"]["backbone"]
    events = EventAccumulator(str(config.experiment_dir / "tensorboard"))
    events.Reload()
    for role in ("backbone", "head"):
        found = [event.value for event in events.Scalars(f"train/learning_rate/{role}")]
        assert found == pytest.approx([line["learning_rates"][role] for line in lines])
    assert "lr 2.0e-04 (head 4.0e-03)" in screen.file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("weighting", ["dataset", "step"])
def test_the_loss_per_label_is_the_mean_over_the_labels_of_the_interval(
    run_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, weighting: str
) -> None:
    """Whatever number of labels a step happens to have; checked against the passes' own losses."""
    sums = [[0.0, 0.0]]
    original = OptimizerStep._pack_loss

    def measured(self: OptimizerStep, pack: TrainingPack) -> torch.Tensor:
        with torch.no_grad():
            losses_S = step_losses(self.model(pack.batch).float(), pack.labels_S, "bce").double()
        sums[-1][0] += float((pack.weights_S * losses_S).sum())
        sums[-1][1] += float(pack.weights_S.double().sum())
        return original(self, pack)

    monkeypatch.setattr(OptimizerStep, "_pack_loss", measured)

    class Watching(Watcher):
        def logged(self, record: StepRecord) -> None:
            super().logged(record)
            sums.append([0.0, 0.0])

    watcher = Watching()
    train(run_config(max_steps=6, logging_steps=2, use_eqasc=True, loss_weighting=weighting), watcher)
    found = [record.loss_per_label for record in watcher.of("logged")]
    assert found == pytest.approx([loss / weight for loss, weight in sums[:-1]], rel=1e-5)


@pytest.mark.slow
def test_an_untrained_model_has_the_loss_per_label_of_its_constant_with_any_batch(
    run_config: Callable[..., Config],
) -> None:
    """The weighted sum of a step follows its number of labels; the printed mean does not."""
    config = run_config(max_steps=12, learning_rate=1e-9)
    watcher = Watcher()
    train(config, watcher)
    records = watcher.of("logged")
    constant = json.loads((config.experiment_dir / "data_report.json").read_text())["constant_nats_per_label"]
    assert any(f"has {constant:.4f}: a loss that stays about there is on the plateau" in x for x in watcher.of("say"))
    per_label = np.array([record.loss_per_label for record in records])
    labels = np.array([sum(record.labels.values()) for record in records])
    assert labels.std() / labels.mean() > 0.05, "steps of different sizes"
    assert per_label.mean() == pytest.approx(constant, rel=0.1)
    weighted = np.array([record.loss for record in records])
    assert np.corrcoef(weighted, labels)[0, 1] > 0.8
    assert per_label.std() / per_label.mean() < weighted.std() / weighted.mean()


@pytest.mark.slow
def test_a_loss_per_label_cut_in_two_by_a_resume_is_the_same(run_config: Callable[..., Config]) -> None:
    settings = {"max_steps": 6, "logging_steps": 6}
    whole = run_config(experiment_name="whole", **settings)
    train(whole, Watcher())
    cut = run_config(experiment_name="cut", **settings)
    train(cut, Watcher({4: lambda: os.kill(os.getpid(), signal.SIGTERM)}))
    train(cut, Watcher(), resume=True)
    values = [
        [line["loss_per_label"] for line in read_lines(c.experiment_dir / "metrics.jsonl") if line["kind"] == "step"]
        for c in (whole, cut)
    ]
    assert values[0] == values[1]
    assert len(values[0]) == 1


def test_a_state_that_knows_no_weights_gives_no_loss_per_label_rather_than_a_wrong_one() -> None:
    values = {"losses": [0.5], "tokens": 3, "labels": {"own": 2}, "seconds": 1.0}
    interval = Interval.from_dict(values, device=torch.device("cpu"), is_main=True)
    assert math.isnan(interval.weights[0])

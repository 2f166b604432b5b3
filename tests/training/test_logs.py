"""The log files of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runs import Watcher, read_lines
from surestep.config import Config
from surestep.training.events.run_log import RunLog
from surestep.training.events.tensorboard import TensorBoardLog
from surestep.training.optimizer_step import OptimizerStep, Update
from surestep.training.run import train
from surestep.training.step_data import StepPacks


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


def test_tensorboard_holds_the_same_losses(run_config: Callable[..., Config]) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert TensorBoardLog.is_installed()
    config = run_config(max_steps=3)
    config.training.tensorboard = True
    watcher = Watcher()
    train(config, watcher)
    events = EventAccumulator(str(config.experiment_dir / "tensorboard"))
    events.Reload()
    found = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert found == [(record.step, pytest.approx(record.loss, rel=1e-6)) for record in watcher.of("logged")]
    assert "validation/nll/mean" in events.Tags()["scalars"]

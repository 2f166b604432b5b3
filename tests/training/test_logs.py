"""The log files of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runs import Watcher, read_lines
from surestep.config import Config
from surestep.training.events.records import Observers
from surestep.training.events.run_log import MetricsFile, TensorBoardLog
from surestep.training.run import train


def test_lines_beyond_the_resumed_step_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"kind": "step", "step": 5}\n{"kind": "step", "step": 6}\nhalf a li', encoding="utf-8")
    MetricsFile(tmp_path, resumed_step=5)
    assert [line["step"] for line in read_lines(path)] == [5]


def test_a_new_run_starts_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"kind": "step", "step": 0}\n', encoding="utf-8")
    MetricsFile(tmp_path, resumed_step=0)
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_every_line_is_on_disk_as_soon_as_it_is_said(tmp_path: Path) -> None:
    log = MetricsFile(tmp_path, resumed_step=0)
    log.say("first")
    log.stepped(3)
    log.saved(tmp_path / "checkpoint_step_3")
    assert read_lines(log.path) == [
        {"kind": "note", "step": 0, "text": "first"},
        {"kind": "checkpoint", "step": 3, "folder": "checkpoint_step_3"},
    ]


def test_speeds_count_training_only(run_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    """A validation in the middle of an interval takes no time from it and hides no step of it."""
    import surestep.training.events.log as interval

    clock = [0.0]
    monkeypatch.setattr(interval.time, "perf_counter", lambda: clock[0])

    class Timed(Watcher):
        def stepped(self, step: int) -> None:
            clock[0] += 1.0

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


def test_several_observers_hear_the_same() -> None:
    first, second = Watcher(), Watcher()
    both = Observers(first, second)
    both.say("a")
    both.started(first_step=1, max_steps=2)
    both.stepped(2)
    both.saved(Path("x"))
    both.finished()
    assert first.events == second.events
    assert [kind for kind, _ in first.events] == ["say", "started", "stepped", "saved", "finished"]

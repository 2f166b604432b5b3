"""`surestep train`: what it prints, leaves behind and answers to a signal."""

from __future__ import annotations

import json
import os
import re
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runs import assert_same_bits, hashes, logged, read_lines
from surestep.cli.output.progress import TrainingDisplay
from surestep.config import Config
from surestep.training.events.records import StepDone

ROOT = Path(__file__).resolve().parents[2]
Command = Callable[..., str]


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    return tmp_path / "outputs" / "run"


def test_a_run_shows_its_progress_and_what_to_do_next(succeed: Command, flags: list[str], experiment: Path) -> None:
    out = succeed("train", "--preset", "lora", *flags)
    for step in range(1, 5):
        assert re.search(rf"step {step}/4  loss 0\.\d+  lr .* tokens/s .* labelled steps/s", out)
    assert "validation at step 2: nll" in out
    assert f"saved {experiment / 'checkpoint_step_4'}" in out
    assert "skill" in out
    report = experiment.parent / "eval_run" / "eval_metrics.json"
    assert f"validation report: {report}" in out
    assert json.loads(report.read_text())["split"] == "validation"
    # The document's comparison of runs reads exactly this.
    assert isinstance(json.loads(report.read_text())["overall"]["mse"], float)
    assert re.search(r"next: python evaluate\.py --checkpoint \S+/outputs/run/checkpoint_step_[24]\n", out)
    config = Config.from_json(experiment / "config.json")
    assert (config.lora.use_lora, config.training.learning_rate, config.training.max_steps) == (True, 1e-4, 4)


def test_a_warmup_as_long_as_the_run_is_said_at_its_start(succeed: Command, flags: list[str]) -> None:
    out = succeed("train", *flags, "--max_steps", "1", "--warmup_steps", "4", "--learning_rate", "1e-3")
    assert "warmup takes 4 steps and the run has 1: the learning rate only rises, to 0.00025 of 0.001" in out


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_ends_with_its_exit_code_and_the_way_on(
    succeed: Command, flags: list[str], experiment: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = TrainingDisplay.step_done

    def step_done(self: TrainingDisplay, done: StepDone) -> None:
        shown(self, done)
        if done.step == 3:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(TrainingDisplay, "step_done", step_done)
    out = succeed("train", "--preset", "lora", *flags, code=128 + number)
    assert f"stopped by {number.name} after step 3" in out
    assert "--resume" in out
    assert (experiment / "checkpoint_step_3" / "manifest.json").is_file()
    assert not (experiment.parent / "eval_run").exists()  # whoever stops a run does not wait for a report
    monkeypatch.undo()
    out = succeed("train", "--preset", "lora", *flags, "--resume")
    assert "resuming from" in out
    assert "at step 3" in out
    assert [line["step"] for line in read_lines(experiment / "metrics.jsonl") if line["kind"] == "step"] == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_resumed_run_keeps_its_settings_and_says_which_were_changed(
    succeed: Command, flags: list[str], experiment: Path, tmp_path: Path
) -> None:
    succeed("train", "--preset", "lora", *flags, "--learning_rate", "3e-3")
    few = ["--output_dir", tmp_path / "outputs", "--experiment_name", "run", "--resume"]
    assert "other settings" not in succeed("train", *few)  # nothing changed, though the preset is another
    out = succeed("train", *few, "--max_steps", "6", "--learning_rate", "3e-3")
    assert "resuming with other settings than the run was started with: training.max_steps\n" in out
    config = Config.from_json(experiment / "config.json")
    assert (config.training.max_steps, config.training.learning_rate, config.lora.use_lora) == (6, 3e-3, True)
    assert (experiment / "checkpoint_step_6").is_dir()


@pytest.mark.slow
def test_an_existing_run_is_refused_and_kept(
    succeed: Command, fail: Command, flags: list[str], experiment: Path
) -> None:
    succeed("train", "--preset", "lora", *flags)
    before = hashes(experiment)
    err = fail("train", "--preset", "lora", *flags)
    assert "--resume" in err
    assert "--overwrite" in err
    assert hashes(experiment) == before
    (experiment / "notes.txt").write_text("mine")
    assert "notes.txt" in fail("train", "--preset", "lora", *flags, "--overwrite")
    (experiment / "notes.txt").unlink()
    assert hashes(experiment) == before
    assert "--resume and --overwrite" in fail("train", *flags, "--resume", "--overwrite")
    succeed("train", "--preset", "lora", *flags, "--overwrite", "--max_steps", "1")
    assert not (experiment / "checkpoint_step_4").exists()


def test_resuming_nothing_is_one_line(fail: Command, flags: list[str]) -> None:
    assert "start without --resume" in fail("train", *flags, "--resume")


@pytest.mark.slow
def test_the_same_command_trains_the_same_model(succeed: Command, flags: list[str], tmp_path: Path) -> None:
    for name in ("first", "second"):
        succeed("train", "--preset", "lora", *flags, "--experiment_name", name)
    folders = [tmp_path / "outputs" / name for name in ("first", "second")]
    assert logged(folders[0]) == logged(folders[1])
    assert_same_bits(*(folder / "checkpoint_step_4" for folder in folders))


@pytest.mark.slow
@pytest.mark.parametrize(("script", "is_lora"), [("train.py", False), ("train_lora.py", True)])
def test_the_scripts_at_the_root_are_the_command_with_a_preset(
    script: str, is_lora: bool, flags: list[str], experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [script, *flags, "--max_steps", "1"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert ended.value.code == 0
    assert (experiment / "checkpoint_step_1" / ("adapter" if is_lora else "backbone")).is_dir()
    assert Config.from_json(experiment / "config.json").training.learning_rate == (1e-4 if is_lora else 2e-5)


@pytest.mark.slow
def test_a_file_sets_what_no_flag_sets(succeed: Command, flags: list[str], experiment: Path, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("training:\n  seed: 7\n  weight_decay: 0.5\n", encoding="utf-8")
    succeed("train", "--preset", "lora", "--config", path, *flags, "--seed", "8")
    config = Config.from_json(experiment / "config.json")
    assert (config.training.seed, config.training.weight_decay) == (8, 0.5)

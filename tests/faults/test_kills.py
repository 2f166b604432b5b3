"""A kill at every rename and removal of a command, found by tracing it first."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from injected_faults import forked, killed_at, traced
from runs import Watcher
from surestep.cli.main import main
from surestep.config import Config
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.training.run import train
from survival import RHYTHM, goes_on_after_kill, trains, unfinished

pytestmark = pytest.mark.faults
Tally = Callable[..., None]


@pytest.fixture
def whole(run_config: Callable[..., Config]) -> Config:
    """The undisturbed run."""
    config = run_config(experiment_name="whole", **RHYTHM)
    train(config, Watcher())
    return config


def test_of_a_run(run_config: Callable[..., Config], whole: Config, tmp_path: Path, tally: Tally) -> None:
    begun = run_config(experiment_name="cut", output_dir=tmp_path / "traced", **RHYTHM)
    acts = traced(trains(begun), str(begun.output_dir))
    assert len(acts) > 60
    fault, failed = "kill at a rename or removal of a run", []
    for number, act in enumerate(acts, 1):
        cut = run_config(experiment_name="cut", output_dir=tmp_path / f"cut-{number}", **RHYTHM)
        ended = killed_at(number, trains(cut), str(cut.output_dir))
        assert ended.code == -signal.SIGKILL, (act, ended.err)
        try:
            said = goes_on_after_kill(cut, whole)
        except AssertionError as error:
            failed.append(f"{number} {act}: {error}")
            tally(fault, survived=False, named=False)
        else:
            # A kill before the lock is taken, or behind its removal, leaves nothing to speak of.
            is_named = "no longer runs" in said or number == 1 or act == "rmdir ."
            tally(fault, survived=True, named=is_named)
            if not is_named:
                failed.append(f"{number} {act}: not a word")
    assert failed == []


def test_of_a_run_that_replaces_another(run_config: Callable[..., Config], tmp_path: Path, tally: Tally) -> None:
    """Up to where the new run has a checkpoint of its own."""

    def make(number: int) -> Config:
        config = run_config(experiment_name="cut", output_dir=tmp_path / f"cut-{number}", **RHYTHM)
        config.training.max_steps = 2
        train(config, Watcher())
        config.training.max_steps = RHYTHM["max_steps"]
        return config

    config = make(0)
    acts = traced(trains(config, overwrite=True), str(config.output_dir))
    first = next(number for number, act in enumerate(acts) if act.startswith("rename cut/.checkpoint_step_1."))
    # The former run has two steps: whoever goes on from it has another log, so the way back is to overwrite again.
    fault, failed = "kill while --overwrite replaces a run", []
    for number, act in enumerate(acts[: first + 2], 1):
        cut = make(number)
        assert killed_at(number, trains(cut, overwrite=True), str(cut.output_dir)).code == -signal.SIGKILL
        try:
            for path in cut.experiment_dir.glob("checkpoint_step_*"):
                load_checkpoint(path)
            watcher = Watcher()
            train(cut, watcher, overwrite=True)
            assert unfinished(cut.output_dir) == []
        except AssertionError as error:
            failed.append(f"{number} {act}: {error}")
            tally(fault, survived=False, named=False)
        else:
            said = "\n".join(watcher.of("say"))
            tally(fault, survived=True, named="no longer runs" in said or number == 1)
    assert failed == []


def test_of_a_calibration_and_an_evaluation(run_config: Callable[..., Config], tally: Tally, drawn: None) -> None:
    config = run_config(max_steps=2, baselines=False)
    train(config, Watcher())
    checkpoint = config.experiment_dir / "checkpoint_step_2"
    results = config.output_dir / "results"
    commands = {
        "kill at a rename or removal of calibrate": [
            "calibrate",
            "--checkpoint",
            checkpoint,
            "--method",
            "temperature",
        ],
        "kill at a rename or removal of evaluate": [
            *("evaluate", "--checkpoint", checkpoint, "--output_dir", results, "--baselines", "false")
        ],
        "kill at a rename or removal of report": ["report", results],
    }
    failed = []
    for fault, words in commands.items():
        arguments = [str(word) for word in words]

        def run(arguments: list[str] = arguments) -> int:
            return main(arguments)

        assert run() == 0
        for number, act in enumerate(traced(run, str(config.output_dir)), 1):
            ended = killed_at(number, run, str(config.output_dir))
            assert ended.code == -signal.SIGKILL, (act, ended.err)
            load_checkpoint(checkpoint)
            again = forked(run)
            is_whole = again.code == 0 and unfinished(config.output_dir) == []
            is_named = "no longer runs" in again.out + again.err
            if not is_whole:
                failed.append(f"{number} {act}: exit code {again.code}, left {unfinished(config.output_dir)}")
                main([*map(str, commands["kill at a rename or removal of evaluate"])])
            elif not is_named and number > 1:  # the first act is before the lock is taken: nothing to speak of
                failed.append(f"{number} {act}: not a word")
            tally(fault, survived=is_whole, named=is_named)
    assert failed == []

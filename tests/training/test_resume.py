"""A run that was interrupted anywhere and resumed is the uninterrupted run, to the bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from runs import Watcher, assert_same_bits, hashes, logged, read_lines
from surestep.config import Config
from surestep.errors import CheckpointError
from surestep.training.run import train
from surestep.training.start.origin import resumed_config

ROOT = Path(__file__).resolve().parents[2]
# No two of these share a rhythm, so that a stop falls between log lines, validations and checkpoints.
RHYTHM = {
    "max_steps": 14,
    "eval_steps": 4,
    "save_steps": 5,
    "logging_steps": 3,
    "mlp_dropout": 0.2,
    "lora_dropout": 0.2,
    "validation_samples": 5,
}


@pytest.fixture
def settings(run_config: Callable[..., Config], run_files: Path) -> Callable[..., Config]:
    """A run over two datasets, dropout on."""

    def make(name: str, *, lora: bool = True, **others: Any) -> Config:
        chosen = {**RHYTHM, "use_prm800k": True, "prm800k_phase": 1, **others}
        return run_config(lora=lora, experiment_name=name, **chosen)

    return make


@pytest.fixture(scope="module")
def finished_runs() -> dict[tuple[bool, int | None], Config]:
    """Uninterrupted runs, each trained once."""
    return {}


@pytest.fixture
def uninterrupted(
    settings: Callable[..., Config],
    finished_runs: dict[tuple[bool, int | None], Config],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Config]:
    """The finished run that an interrupted one must equal."""

    def find(*, lora: bool = True, patience: int | None = None) -> Config:
        if (lora, patience) not in finished_runs:
            config = settings("whole", lora=lora, early_stopping_patience=patience)
            config.output_dir = tmp_path_factory.mktemp("whole")
            train(config, Watcher())
            finished_runs[lora, patience] = config
        return finished_runs[lora, patience]

    return find


class CrashError(Exception):
    """Stands for a power cut: nothing of ours runs after it."""


def crash() -> None:
    raise CrashError


def interrupt(number: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def last_checkpoint(config: Config) -> Path:
    return config.experiment_dir / f"checkpoint_step_{config.training.max_steps}"


def assert_same_run(mine: Config, theirs: Config) -> None:
    assert logged(mine.experiment_dir) == logged(theirs.experiment_dir)
    assert_same_bits(last_checkpoint(mine), last_checkpoint(theirs))
    best = [json.loads((c.experiment_dir / "best_checkpoint.json").read_text()) for c in (mine, theirs)]
    assert best[0] == best[1]
    reports = [json.loads((c.validation_dir / "eval_metrics.json").read_text()) for c in (mine, theirs)]
    assert reports[0]["overall"] == reports[1]["overall"]
    assert reports[0]["per_dataset"] == reports[1]["per_dataset"]


@pytest.mark.slow
@pytest.mark.parametrize(("lora", "stopped_at"), [(True, 5), (True, 7), (False, 7)])
def test_a_crash_loses_nothing_but_the_steps_since_the_last_checkpoint(
    settings, uninterrupted, lora: bool, stopped_at: int
) -> None:
    whole = uninterrupted(lora=lora)
    cut = settings("cut", lora=lora)
    with pytest.raises(CrashError):
        train(cut, Watcher({stopped_at + 1: crash}))
    watcher = Watcher()
    train(cut, watcher, resume=True)
    assert watcher.of("started") == [(5, 14)]
    assert watcher.of("stepped") == list(range(6, 15))
    assert_same_run(whole, cut)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "stopped_at"), [(signal.SIGINT, 1), (signal.SIGTERM, 8), (signal.SIGTERM, 9)])
def test_a_signal_stops_with_a_checkpoint_and_resumes_as_if_it_had_not_come(
    settings, uninterrupted, number, stopped_at: int
) -> None:
    whole = uninterrupted()
    cut = settings("cut")
    before = signal.getsignal(number)  # a shell's background jobs ignore SIGINT
    watcher = Watcher({stopped_at: interrupt(number)})
    stopped = train(cut, watcher)
    assert stopped.result.stopped_by == number
    assert stopped.result.last.name == f"checkpoint_step_{stopped_at}"
    assert stopped.result.last.is_dir()
    assert any(number.name in line for line in watcher.of("say"))
    assert signal.getsignal(number) == before
    train(cut, Watcher(), resume=True)
    assert_same_run(whole, cut)


@pytest.mark.slow
@pytest.mark.parametrize("stopped_at", [1, 2, 4, 6])
def test_patience_counts_on_over_an_interruption(settings, validations_give, stopped_at: int) -> None:
    """The stop's own checkpoint is no validation: it neither uses patience up nor renews it."""
    validations_give([0.5, 0.5, 0.4, 0.3, 0.35, 0.35, 0.1, 0.33, 0.1, 0.36, 0.1, 0.37, 0.1, 0.1])
    cut = settings("cut", early_stopping_patience=3, eval_steps=2, save_steps=20)
    train(cut, Watcher({stopped_at + 1: interrupt(signal.SIGTERM)}))
    result = train(cut, Watcher(), resume=True).result
    # Validated at 2, 4, 6, ...: best at 4, then three without a better one.
    assert (result.early, result.steps) == (True, 10)


@pytest.mark.slow
def test_stopping_again_and_again_changes_nothing(settings, uninterrupted) -> None:
    whole = uninterrupted(patience=3)
    cut = settings("cut", early_stopping_patience=3)
    train(cut, Watcher({2: interrupt(signal.SIGTERM)}))
    for step in (3, 4, 9, 12):
        train(cut, Watcher({step: interrupt(signal.SIGTERM)}), resume=True)
    train(cut, Watcher(), resume=True)
    assert_same_run(whole, cut)


@pytest.mark.slow
def test_a_run_whose_head_reads_more_than_the_last_layer_s_token_resumes_exactly(settings) -> None:
    """The weights of the mix of layers, and their moments, are part of the checkpoint and of its state."""
    shape = {"head_layers": "mix", "head_pooling": "mean", "max_steps": 6, "eval_steps": 3, "save_steps": 2}
    whole, cut = settings("whole", **shape), settings("cut", **shape)
    train(whole, Watcher())
    with pytest.raises(CrashError):
        train(cut, Watcher({4: crash}))
    watcher = Watcher()
    train(cut, watcher, resume=True)
    assert watcher.of("stepped") == [3, 4, 5, 6]
    assert_same_run(whole, cut)
    assert {"head.input.weights", "head.input.gamma"} <= set(load_file(last_checkpoint(cut) / "head.safetensors"))


def test_a_signal_during_the_validation_still_finds_a_checkpoint(settings, monkeypatch) -> None:
    config = settings("stopped")
    watcher = Watcher()
    monkeypatch.setattr(watcher, "validated", lambda _record: os.kill(os.getpid(), signal.SIGTERM))
    stopped = train(config, watcher)
    assert stopped.result.steps == 4
    assert stopped.result.last.name == "checkpoint_step_4"
    assert stopped.result.last.is_dir()


@pytest.mark.slow
def test_a_stop_between_validations_marks_no_checkpoint_as_best(settings) -> None:
    """The checkpoint of step 9 was not validated; the validation of step 8 says nothing about it."""
    config = settings("stopped")
    stopped = train(config, Watcher({9: interrupt(signal.SIGTERM)}))
    best = json.loads((config.experiment_dir / "best_checkpoint.json").read_text())
    assert best["step"] == 5
    assert stopped.result.best == config.experiment_dir / "checkpoint_step_5"
    assert stopped.validation is None
    assert not config.validation_dir.exists()


@pytest.mark.slow
def test_a_second_ctrl_c_quits_at_once(settings) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    config = settings("impatient")
    with pytest.raises(KeyboardInterrupt):
        train(config, Watcher({7: twice}))
    assert [path.name for path in config.experiment_dir.glob("*checkpoint_step_*")] == ["checkpoint_step_5"]


KILLED = """
import os, signal, sys
from surestep.cli.main import main
from surestep.cli.output.progress import TrainingDisplay
shown = TrainingDisplay.step_done
def step_done(self, done):
    shown(self, done)
    if done.step == 8:
        os.kill(os.getpid(), signal.SIGKILL)
TrainingDisplay.step_done = step_done
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_killed_process_resumes_from_its_last_checkpoint(
    settings, uninterrupted, tmp_path: Path, quick_python: Path
) -> None:
    whole = uninterrupted()
    cut = settings("cut")
    cut.save(tmp_path / "cut.json")
    killed = subprocess.run(
        [quick_python / "python", "-c", KILLED, "train", "--config", str(tmp_path / "cut.json")],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [line["step"] for line in read_lines(cut.experiment_dir / "metrics.jsonl") if line["kind"] == "step"] == [
        3,
        6,
    ]
    train(cut, Watcher(), resume=True)
    assert_same_run(whole, cut)


@pytest.mark.slow
def test_half_a_log_line_and_half_a_checkpoint_of_a_killed_run_are_no_obstacle(settings, uninterrupted) -> None:
    whole = uninterrupted()
    cut = settings("cut")
    with pytest.raises(CrashError):
        train(cut, Watcher({9: crash}))
    with (cut.experiment_dir / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"kind": "step", "step": 9, "lo')
    part = cut.experiment_dir / ".checkpoint_step_10.part"
    part.mkdir()
    (part / "head.safetensors").write_bytes(b"half")
    train(cut, Watcher(), resume=True)
    assert_same_run(whole, cut)
    assert not part.exists()


@pytest.mark.slow
def test_a_run_killed_before_it_marked_its_best_checkpoint_marks_it(settings) -> None:
    config = settings("cut")
    train(config, Watcher())
    best = config.experiment_dir / "best_checkpoint.json"
    expected = best.read_text()
    best.unlink()
    train(config, Watcher(), resume=True)
    assert best.read_text() == expected


@pytest.mark.slow
def test_resuming_a_finished_run_trains_no_step_and_keeps_every_file(settings) -> None:
    config = settings("done")
    train(config, Watcher())
    before = hashes(config.experiment_dir)
    watcher = Watcher()
    result = train(config, watcher, resume=True)
    after = hashes(config.experiment_dir)
    assert watcher.of("stepped") == []
    assert result.result.steps == 14
    assert any("nothing is left to train: the run is at step 14 of 14" in line for line in watcher.of("say"))
    # Nor does it write settings over those that it was trained with.
    train(settings("done", learning_rate=0.5, max_steps=2), Watcher(), resume=True)
    assert json.loads((config.experiment_dir / "config.json").read_text())["training"]["max_steps"] == 14
    after = hashes(config.experiment_dir)
    del before["metrics.jsonl"], after["metrics.jsonl"]  # gains a note that it was resumed
    assert before == after


@pytest.mark.slow
def test_a_run_whose_patience_ran_out_stays_stopped(settings, validations_give: Callable[..., None]) -> None:
    config = settings("patient", early_stopping_patience=1, eval_steps=1)
    validations_give([0.5, 0.4, 0.6])
    first = train(config, Watcher())
    assert first.result.early
    assert first.result.steps == 3
    watcher = Watcher()
    again = train(config, watcher, resume=True)
    assert again.result.early
    assert watcher.of("stepped") == []
    more = config.model_copy(deep=True)
    more.training.early_stopping_patience = None
    assert train(more, Watcher(), resume=True).result.steps == 14


def test_resuming_nothing_is_refused(settings) -> None:
    config = settings("nothing")
    with pytest.raises(CheckpointError, match="start without --resume"):
        train(config, Watcher(), resume=True)
    assert not config.experiment_dir.exists()


@pytest.mark.slow
def test_the_configuration_of_a_resumed_run_is_the_one_it_was_started_with(settings) -> None:
    config = settings("kept", learning_rate=3e-3)
    train(config, Watcher({6: interrupt(signal.SIGTERM)}))
    other = settings("kept")
    assert resumed_config(other.experiment_dir).training.learning_rate == 3e-3


def test_a_training_state_with_one_byte_changed_is_refused(settings) -> None:
    """Where no earlier checkpoint is whole; where one is, the run goes on from it (`test_faults.py`)."""
    config = settings("damaged")
    train(config, Watcher({4: interrupt(signal.SIGTERM)}))
    path = config.experiment_dir / "checkpoint_step_4" / "training_state" / "optimizer.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    before = hashes(config.experiment_dir)
    with pytest.raises(CheckpointError, match=r"optimizer\.safetensors has changed"):
        train(config, Watcher(), resume=True)
    assert hashes(config.experiment_dir) == before

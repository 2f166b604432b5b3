"""Kills aimed at renames and removals, signals at any moment, full disks: a run survives them or says what is wrong."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runs import Watcher, assert_same_bits, hashes, logged
from surestep.config import Config
from surestep.errors import CheckpointError, LockedError
from surestep.lock import lock_path, locked
from surestep.scoring.checkpoint.find import list_checkpoints
from surestep.scoring.checkpoint.manifest import read_manifest
from surestep.training.events import validate as validation
from surestep.training.experiment_folder import clean_folder, prune, restore_folder, start_folder
from surestep.training.run import train

RHYTHM = {"max_steps": 9, "eval_steps": 2, "save_steps": 2, "save_total_limit": 1, "validation_samples": 4}

# Dies at the n-th rename or removal below a folder, before or after it, as a power cut would.
DIES = """
import os, signal, sys
folder, number, late = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "after"
count = 0
def dying(name):
    act = getattr(os, name)
    def call(path, *others, **keywords):
        global count
        text = os.fspath(path) if not isinstance(path, int) else ""
        counts = text.startswith(folder) or keywords.get("dir_fd") is not None
        count += counts
        if counts and count == number and not late:
            os.kill(os.getpid(), signal.SIGKILL)
        found = act(path, *others, **keywords)
        if counts and count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return found
    setattr(os, name, call)
for name in ("rename", "replace", "unlink", "rmdir", "link"):
    dying(name)
from surestep.cli.main import main
code = main(sys.argv[4:])
print("counted", count)
sys.exit(code)
"""

SIGNALLED = """
import os, signal, sys
from surestep.cli.main import main
import surestep.{module} as module
number = getattr(signal, sys.argv[1])
act = module.{name}
def call(*arguments, **keywords):
    os.kill(os.getpid(), number)
    if len(sys.argv[2]) > 1:
        os.kill(os.getpid(), number)
    return act(*arguments, **keywords)
module.{name} = call
sys.exit(main(sys.argv[3:]))
"""


def command(code: str, *arguments: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=200,
        check=False,
    )


@pytest.fixture
def whole(run_config: Callable[..., Config]) -> Config:
    """The uninterrupted run."""
    config = run_config(experiment_name="whole", **RHYTHM)
    train(config, Watcher())
    return config


def saved_as(config: Config, path: Path) -> Path:
    config.save(path)
    return path


def assert_same_run(mine: Config, theirs: Config) -> None:
    last = [list_checkpoints(config.experiment_dir)[-1][1] for config in (mine, theirs)]
    assert logged(mine.experiment_dir) == logged(theirs.experiment_dir)
    assert_same_bits(last[0], last[1])
    names = [sorted(path.name for path in config.experiment_dir.iterdir()) for config in (mine, theirs)]
    assert names[0] == names[1]
    best = [json.loads((config.experiment_dir / "best_checkpoint.json").read_text()) for config in (mine, theirs)]
    assert best[0] == best[1]


def test_kills_at_renames_and_removals_leave_whole_checkpoints_and_the_same_run(
    run_config: Callable[..., Config], whole: Config, tmp_path: Path
) -> None:
    rng = random.Random(20)
    for kill in range(5):
        cut = run_config(experiment_name=f"cut-{kill}", **RHYTHM)
        arguments = ["train", "--config", saved_as(cut, tmp_path / f"{kill}.json")]
        number, when = rng.randint(8, 60), rng.choice(["before", "after"])
        done = command(DIES, cut.experiment_dir, number, when, *arguments)
        assert done.returncode == -signal.SIGKILL, (number, done.stdout[-500:], done.stderr[-500:])
        for _, path in list_checkpoints(cut.experiment_dir):
            read_manifest(path, with_state=False)
        has_state = [path for _, path in list_checkpoints(cut.experiment_dir) if (path / "training_state").is_dir()]
        watcher = Watcher()
        if has_state:
            train(cut, watcher, resume=True)
        else:
            train(cut, watcher, overwrite=cut.experiment_dir.exists())
        assert any("no longer runs" in line for line in watcher.of("say"))
        assert_same_run(cut, whole)


def test_a_checkpoint_that_is_removed_loses_its_name_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill at any moment of the removal leaves no torn one."""
    for step in (1, 2, 3, 4):
        state = tmp_path / f"checkpoint_step_{step}" / "training_state"
        state.mkdir(parents=True)
        (state / "state.json").write_text("{}")
    monkeypatch.setattr("surestep.files._delete", lambda _path: None)  # as if killed right behind the rename
    prune(tmp_path, keep=1, best_step=None)
    assert [step for step, _ in list_checkpoints(tmp_path)] == [4]
    assert len([path for path in tmp_path.iterdir() if path.name.endswith(".old")]) == 5
    monkeypatch.undo()
    assert restore_folder(tmp_path) == []
    (said,) = clean_folder(tmp_path)
    assert said.startswith("5 ")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_step_4"]


def test_what_is_not_ours_is_not_cleaned(run_config: Callable[..., Config]) -> None:
    config = run_config()
    folder = config.experiment_dir
    folder.mkdir(parents=True)
    others = (".git", ".notes.old", "draft.part", ".checkpoint_step_1.mine", ".mine.abc.part")
    for name in others:
        (folder / name).write_text("mine")
    (folder.parent / f".another-{folder.name}.0123456789ab.part").write_text("of another run")
    (folder / ".metrics.jsonl.0123456789ab.part").write_text("ours")
    (folder.parent / f".{folder.name}.0123456789ab.old").mkdir()
    assert len(clean_folder(folder)) == 1
    assert sorted(path.name for path in folder.iterdir()) == sorted(others)
    assert len(list(folder.parent.iterdir())) == 2


@pytest.mark.parametrize("moment", ["put_aside", "mkdir", "remove_leftovers"])
def test_a_kill_while_a_run_is_overwritten_leaves_the_former_or_the_new_one(
    run_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    class KilledError(Exception):
        """Nothing of ours runs behind it."""

    def die(*_arguments: Any, **_keywords: Any) -> None:
        raise KilledError

    config = run_config()
    folder = config.experiment_dir
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("former")
    target = "pathlib.Path.mkdir" if moment == "mkdir" else f"surestep.training.experiment_folder.{moment}"
    with monkeypatch.context() as patched:
        patched.setattr(target, die)
        with pytest.raises(KilledError):
            start_folder(config, overwrite=True)
    said = restore_folder(folder)
    clean_folder(folder)
    if moment == "remove_leftovers":
        assert list(folder.iterdir()) == []
    else:
        assert (folder / "metrics.jsonl").read_text() == "former"
        assert len(said) == (moment == "mkdir")
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def damage(checkpoint: Path) -> None:
    path = checkpoint / "training_state" / "optimizer.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_damaged_last_checkpoint_is_set_aside_and_an_earlier_one_goes_on(
    run_config: Callable[..., Config], whole: Config
) -> None:
    cut = run_config(experiment_name="cut", **RHYTHM)
    train(cut, Watcher({7: lambda: os.kill(os.getpid(), signal.SIGTERM)}))
    damage(cut.experiment_dir / "checkpoint_step_7")
    watcher = Watcher()
    train(cut, watcher, resume=True)
    assert watcher.of("started") == [(6, 9)]
    said = "\n".join(watcher.of("say"))
    for words in ("checkpoint_step_7 is damaged", "optimizer.safetensors has changed", "checkpoint_step_7.damaged now"):
        assert words in said
    aside = cut.experiment_dir / "checkpoint_step_7.damaged"
    assert aside.is_dir()
    aside.rename(cut.output_dir / "elsewhere")
    assert_same_run(cut, whole)


def test_where_no_checkpoint_is_whole_resuming_is_refused_and_nothing_changes(
    run_config: Callable[..., Config],
) -> None:
    cut = run_config(experiment_name="cut", **RHYTHM)
    train(cut, Watcher({7: lambda: os.kill(os.getpid(), signal.SIGTERM)}))
    for _, path in list_checkpoints(cut.experiment_dir):
        if (path / "training_state").is_dir():
            damage(path)
    before = hashes(cut.output_dir)
    with pytest.raises(CheckpointError, match=r"step_7.+optimizer\.safetensors has changed"):
        train(cut, Watcher(), resume=True)
    assert hashes(cut.output_dir) == before


def test_a_run_that_is_being_worked_on_is_refused_to_every_other(run_config: Callable[..., Config]) -> None:
    from surestep.cli.main import main

    config = run_config(max_steps=2)
    trained = train(config, Watcher())
    checkpoint = str(trained.result.last)
    before = hashes(config.output_dir)
    with locked(config.experiment_dir, command="surestep train"):
        for arguments in ({"resume": True}, {"overwrite": True}, {}):
            with pytest.raises(LockedError, match="in use by surestep train"):
                train(config, Watcher(), **arguments)
        assert main(["calibrate", "--checkpoint", checkpoint]) == 2
        assert main(["calibrate", "--checkpoint", checkpoint, "--remove"]) == 2
        assert main(["check", checkpoint, "--sign_off", "backup", "--by", "Ada"]) == 2
        assert lock_path(config.experiment_dir).is_file()
    assert hashes(config.output_dir) == before
    assert not lock_path(config.experiment_dir).exists()


def test_of_two_runs_started_at_once_one_trains_and_the_other_is_refused(
    run_config: Callable[..., Config], tmp_path: Path
) -> None:
    config = run_config(max_steps=30)
    path = saved_as(config, tmp_path / "config.json")
    arguments = [sys.executable, "-m", "surestep.cli.main", "train", "--config", str(path)]
    pair = [subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ends = [process.communicate(timeout=200) for process in pair]
    codes = [process.returncode for process in pair]
    assert sorted(codes) == [0, 2], ends
    _, errors = ends[codes.index(2)]
    (line,) = errors.splitlines()
    assert "in use by surestep train" in line or "exists: continue with --resume" in line
    read_manifest(config.experiment_dir / "checkpoint_step_30", with_state=True)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_signal_while_data_are_prepared_ends_with_a_line_and_leaves_nothing(
    run_config: Callable[..., Config], tmp_path: Path, name: str, times: int
) -> None:
    config = run_config(cache_dir=tmp_path / "cache")
    code = SIGNALLED.format(module="encoding.token_store", name="_rename_unless_there")
    path = saved_as(config, tmp_path / "config.json")
    done = command(code, name, "x" * times, "train", "--config", path)
    assert done.returncode == 128 + getattr(signal, name)
    (line,) = done.stderr.splitlines()
    assert line == "surestep: " + ("interrupted" if name == "SIGINT" else f"stopped by {name}")
    assert not config.output_dir.exists()
    assert [path for path in (tmp_path / "cache").rglob("*") if path.name.endswith(".part")] == []


@pytest.mark.parametrize(("times", "kept"), [(1, True), (2, False)])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_exit_codes_of_one_signal_and_of_two_in_training(
    run_config: Callable[..., Config], tmp_path: Path, name: str, times: int, kept: bool
) -> None:
    config = run_config()
    code = SIGNALLED.format(module="training.trainer", name="StepDone")
    done = command(code, name, "x" * times, "train", "--config", saved_as(config, tmp_path / "config.json"))
    assert done.returncode == 128 + getattr(signal, name), done.stderr
    assert [step for step, _ in list_checkpoints(config.experiment_dir)] == ([1] if kept else [])
    assert not lock_path(config.experiment_dir).exists()


def test_sighup_that_nohup_ignores_stays_ignored(run_config: Callable[..., Config]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        config = run_config()
        result = train(config, Watcher({2: lambda: os.kill(os.getpid(), signal.SIGHUP)})).result
    finally:
        signal.signal(signal.SIGHUP, before)
    assert result.stopped_by is None
    assert result.steps == 6


@pytest.mark.parametrize("at", [2, 3, 4, 6, 8])
def test_a_signal_during_a_validation_leaves_it_off_and_the_resumed_run_begins_with_it(
    run_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Also where a checkpoint is due at that step (4, 8) and where it is only the stop's."""
    rhythm = {**RHYTHM, "save_steps": 4, "eval_steps": 3 if at == 3 else 2}
    theirs = run_config(experiment_name="theirs", **rhythm)
    train(theirs, Watcher())
    real = validation.score_split

    def told(scorer: Any, splits: Any, **keywords: Any) -> Any:
        if watcher.of("stepped")[-1:] == [at]:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(scorer, splits, **keywords)

    cut = run_config(experiment_name="cut", **rhythm)
    watcher = Watcher()
    with monkeypatch.context() as patched:
        patched.setattr(validation, "score_split", told)
        stopped = train(cut, watcher).result
    assert (stopped.steps, stopped.stopped_by) == (at, signal.SIGTERM)
    assert all(record.step != at for record in watcher.of("validated"))
    resumed = Watcher()
    train(cut, resumed, resume=True)
    assert resumed.of("validated")[0].step == at
    last = [config.experiment_dir / "checkpoint_step_9" for config in (cut, theirs)]
    assert logged(cut.experiment_dir) == logged(theirs.experiment_dir)
    assert_same_bits(last[0], last[1])
    best = [(config.experiment_dir / "best_checkpoint.json").read_text() for config in (cut, theirs)]
    assert best[0] == best[1]


def test_a_signal_in_the_final_report_ends_at_once_and_resuming_writes_it(
    run_config: Callable[..., Config], tmp_path: Path
) -> None:
    config = run_config()
    path = saved_as(config, tmp_path / "config.json")
    code = SIGNALLED.format(module="training.run", name="write_validation_report")
    begun = time.monotonic()
    done = command(code, "SIGTERM", "x", "train", "--config", path)
    assert (done.returncode, done.stderr) == (143, "surestep: stopped by SIGTERM\n"), time.monotonic() - begun
    train(config, Watcher(), resume=True)
    assert (config.validation_dir / "eval_metrics.json").is_file()

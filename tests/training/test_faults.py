"""Kills aimed at renames and removals, signals at any moment: a run survives them or says what is wrong.

The long forms stand in tests/faults.
"""

from __future__ import annotations

import importlib
import os
import random
import signal
from argparse import Namespace
from collections.abc import Callable
from contextlib import suppress
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from injected_faults import Ended, Forked, forked, forked_command, full_disk, killed_at, traced
from runs import Watcher, assert_same_bits, hashes, logged
from surestep.cli.main import main, run_command
from surestep.config import Config
from surestep.errors import CheckpointError, LockedError, StorageError
from surestep.lock import lock_path, locked
from surestep.scoring.checkpoint.find import list_checkpoints
from surestep.scoring.checkpoint.manifest import read_manifest
from surestep.stop_signals import Interrupted
from surestep.training.events import validate as validation
from surestep.training.experiment_folder import clean_folder, prune, restore_folder, start_folder
from surestep.training.run import train
from survival import RHYTHM, assert_same_run, goes_on_after_kill, trains


def saved_as(config: Config, path: Path) -> Path:
    config.save(path)
    return path


def signalled(at: str, name: str, times: int, *arguments: Any) -> Ended:
    """A command that gets a signal, once or twice, where it calls the function `at` ("module:function")."""
    module, function = (importlib.import_module(f"surestep.{at.partition(':')[0]}"), at.partition(":")[2])
    act = getattr(module, function)

    def told(*given: Any, **keywords: Any) -> Any:
        for _ in range(times):
            os.kill(os.getpid(), getattr(signal, name))
        return act(*given, **keywords)

    def run() -> int:
        setattr(module, function, told)
        return main([str(argument) for argument in arguments])

    return forked(run)


@pytest.mark.slow
def test_kills_at_renames_and_removals_leave_whole_checkpoints_and_the_same_run(
    run_config: Callable[..., Config],
) -> None:
    whole = run_config(experiment_name="whole", **RHYTHM)
    acts = traced(trains(whole), str(whole.output_dir))
    # At a checkpoint that takes its name, at one that loses it, within a training state and within a checkpoint.
    aims = ("rename whole/.checkpoint_step_2.", "rename whole/checkpoint_step_1", "state.TOKEN.old/", ".old/head")
    numbers = [next(n for n, act in enumerate(acts, 1) if aim in act) for aim in aims]
    for number in [*numbers, random.Random(20).randint(8, len(acts) - 2)]:
        cut = run_config(experiment_name=f"cut-{number}", **RHYTHM)
        ended = killed_at(number, trains(cut), str(cut.output_dir))
        assert ended.code == -signal.SIGKILL, (acts[number - 1], ended.err)
        assert "no longer runs" in goes_on_after_kill(cut, whole), acts[number - 1]


def test_a_checkpoint_that_is_removed_loses_its_name_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill at any moment of the removal leaves no torn one."""
    for step in (1, 2, 3, 4):
        state = tmp_path / f"checkpoint_step_{step}" / "training_state"
        state.mkdir(parents=True)
        (state / "state.json").write_text("{}")
    monkeypatch.setattr("surestep.disk.delete", lambda _path: None)  # as if killed right behind the rename
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


@pytest.mark.parametrize("moment", ["put_aside", "mkdir", "remove_whole"])
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
            start_folder(config.experiment_dir, overwrite=True)
    said = restore_folder(folder)
    clean_folder(folder)
    if moment == "remove_whole":
        assert list(folder.iterdir()) == []
    else:
        assert (folder / "metrics.jsonl").read_text() == "former"
        assert len(said) == (moment == "mkdir")
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("refused", ["pathlib.Path.mkdir", "surestep.training.experiment_folder.remove_whole"])
def test_a_disk_that_refuses_while_a_run_is_overwritten_leaves_the_former_one(
    run_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    config = run_config()
    folder = config.experiment_dir
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("former")
    with monkeypatch.context() as patched:
        patched.setattr(refused, lambda *_arguments, **_keywords: full_disk(str(folder)))
        with pytest.raises(StorageError, match="No space left"):
            start_folder(config.experiment_dir, overwrite=True)
    assert (folder / "metrics.jsonl").read_text() == "former"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def damage(checkpoint: Path) -> None:
    path = checkpoint / "training_state" / "optimizer.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
def test_a_damaged_last_checkpoint_is_set_aside_and_an_earlier_one_goes_on(
    run_config: Callable[..., Config],
) -> None:
    whole, cut = run_config(experiment_name="whole", **RHYTHM), run_config(experiment_name="cut", **RHYTHM)
    train(whole, Watcher())
    train(cut, Watcher({4: lambda: os.kill(os.getpid(), signal.SIGTERM)}))
    damage(cut.experiment_dir / "checkpoint_step_4")
    watcher = Watcher()
    train(cut, watcher, resume=True)
    assert watcher.of("started") == [(3, 5)]
    said = "\n".join(watcher.of("say"))
    for words in ("checkpoint_step_4 is damaged", "optimizer.safetensors has changed", "checkpoint_step_4.damaged now"):
        assert words in said
    aside = cut.experiment_dir / "checkpoint_step_4.damaged"
    assert aside.is_dir()
    aside.rename(cut.output_dir / "elsewhere")
    assert_same_run(cut, whole)


@pytest.mark.slow
def test_where_no_checkpoint_is_whole_resuming_is_refused_and_nothing_changes(
    run_config: Callable[..., Config],
) -> None:
    cut = run_config(experiment_name="cut", **RHYTHM)
    train(cut, Watcher({3: lambda: os.kill(os.getpid(), signal.SIGTERM)}))
    for _, path in list_checkpoints(cut.experiment_dir):
        if (path / "training_state").is_dir():
            damage(path)
    before = hashes(cut.output_dir)
    with pytest.raises(CheckpointError, match=r"step_3.+optimizer\.safetensors has changed"):
        train(cut, Watcher(), resume=True)
    assert hashes(cut.output_dir) == before


@pytest.mark.slow
def test_a_run_that_is_being_worked_on_is_refused_to_every_other(run_config: Callable[..., Config]) -> None:
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


@pytest.mark.slow
def test_of_processes_that_start_at_once_one_works_and_the_other_is_refused(
    run_config: Callable[..., Config], tmp_path: Path
) -> None:
    """Two runs, then two resumed ones, then a resumed one beside a calibration: each a process of its own."""
    config = run_config(max_steps=3, save_steps=1)
    path = saved_as(config, tmp_path / "config.json")

    def at_once(*commands: list[Any]) -> tuple[Ended, Ended]:
        processes = [Forked(lambda command=command: main([str(word) for word in command])) for command in commands]
        ends = [process.wait() for process in processes]
        assert sorted(ended.code for ended in ends) == [0, 2], ends
        return (ends[0], ends[1]) if ends[0].code == 0 else (ends[1], ends[0])

    begin = ["train", "--config", path]
    for commands in ([begin, begin], [[*begin, "--resume"], [*begin, "--resume"]]):
        _, refused = at_once(*commands)
        (line,) = refused.err.splitlines()
        assert "is in use by surestep train of " in line or "exists: continue with --resume" in line
    checkpoint = config.experiment_dir / "checkpoint_step_3"
    read_manifest(checkpoint, with_state=True)
    with locked(config.experiment_dir, command="surestep calibrate"):
        ended = forked_command(*begin, "--resume")
    assert (ended.code, "in use by surestep calibrate" in ended.err) == (2, True)
    assert not lock_path(config.experiment_dir).exists()


@pytest.mark.parametrize("names", list(permutations(("SIGINT", "SIGTERM", "SIGHUP"))))
def test_of_several_signals_the_first_gives_the_code_also_while_the_others_clean_up(names: tuple[str, ...]) -> None:
    numbers = [getattr(signal, name) for name in names]

    def told_again(_args: Any) -> int:
        try:
            os.kill(os.getpid(), numbers[0])
        finally:
            for number in numbers[1:]:
                with suppress(Interrupted):
                    os.kill(os.getpid(), number)
            os.kill(os.getpid(), numbers[-1])
        return 0

    ended = forked(lambda: run_command(Namespace(run=told_again)))
    said = "interrupted" if names[0] == "SIGINT" else f"stopped by {names[0]}"
    assert (ended.code, ended.err) == (128 + numbers[0], f"surestep: {said}\n")


@pytest.mark.parametrize("order", [("SIGTERM", "SIGINT"), ("SIGINT", "SIGTERM")])
def test_of_two_signals_at_the_same_instant_one_is_named(order: tuple[str, str]) -> None:
    """Which of them came first is not known to Python: that with the lower number counts."""

    def at_once(_args: Any) -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
        for name in order:
            os.kill(os.getpid(), getattr(signal, name))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT, signal.SIGTERM])
        return 0

    ended = forked(lambda: run_command(Namespace(run=at_once)))
    assert (ended.code, ended.err) == (130, "surestep: interrupted\n")


@pytest.mark.parametrize(("name", "times"), [("SIGINT", 1), ("SIGTERM", 1), ("SIGHUP", 1), ("SIGTERM", 2)])
def test_a_signal_while_data_are_prepared_ends_with_a_line_and_leaves_nothing(
    run_config: Callable[..., Config], tmp_path: Path, name: str, times: int
) -> None:
    config = run_config(cache_dir=tmp_path / "cache")
    path = saved_as(config, tmp_path / "config.json")
    ended = signalled("encoding.token_store:put_in_place", name, times, "train", "--config", path)
    assert ended.code == 128 + getattr(signal, name)
    (line,) = ended.err.splitlines()
    assert line == "surestep: " + ("interrupted" if name == "SIGINT" else f"stopped by {name}")
    assert not config.output_dir.exists()
    assert [path for path in (tmp_path / "cache").rglob("*") if path.name.endswith(".part")] == []


@pytest.mark.slow
@pytest.mark.parametrize(("name", "times"), [("SIGINT", 2), ("SIGTERM", 1), ("SIGTERM", 2), ("SIGHUP", 1)])
def test_exit_codes_of_one_signal_and_of_two_in_training(
    run_config: Callable[..., Config], tmp_path: Path, name: str, times: int
) -> None:
    """One saves the step; a second one quits at once, and the first one's code stays."""
    config = run_config()
    path = saved_as(config, tmp_path / "config.json")
    ended = signalled("training.trainer:StepDone", name, times, "train", "--config", path)
    assert ended.code == 128 + getattr(signal, name), ended.err
    assert [step for step, _ in list_checkpoints(config.experiment_dir)] == ([1] if times == 1 else [])
    assert not lock_path(config.experiment_dir).exists()


@pytest.mark.slow
def test_sighup_that_nohup_ignores_stays_ignored(run_config: Callable[..., Config]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        config = run_config()
        result = train(config, Watcher({2: lambda: os.kill(os.getpid(), signal.SIGHUP)})).result
    finally:
        signal.signal(signal.SIGHUP, before)
    assert result.stopped_by is None
    assert result.steps == 6


@pytest.mark.slow
@pytest.mark.parametrize("at", [2, 4])
def test_a_signal_during_a_validation_leaves_it_off_and_the_resumed_run_begins_with_it(
    run_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Also where a checkpoint is due at that step (4); where not, it is only the stop's."""
    rhythm = {**RHYTHM, "save_steps": 4}
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
    last = [config.experiment_dir / "checkpoint_step_5" for config in (cut, theirs)]
    assert logged(cut.experiment_dir) == logged(theirs.experiment_dir)
    assert_same_bits(last[0], last[1])
    best = [(config.experiment_dir / "best_checkpoint.json").read_text() for config in (cut, theirs)]
    assert best[0] == best[1]


@pytest.mark.slow
def test_a_signal_in_the_final_report_ends_at_once_and_resuming_writes_it(
    run_config: Callable[..., Config], tmp_path: Path
) -> None:
    config = run_config(max_steps=2)
    path = saved_as(config, tmp_path / "config.json")
    ended = signalled("training.events.final_report:write_validation_report", "SIGTERM", 1, "train", "--config", path)
    assert (ended.code, ended.err) == (143, "surestep: stopped by SIGTERM\n")
    train(config, Watcher(), resume=True)
    assert (config.validation_dir / "eval_metrics.json").is_file()

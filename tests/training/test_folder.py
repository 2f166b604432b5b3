"""A run's folder: refused, replaced, pruned, and its disk space."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runs import Watcher, hashes
from surestep.config import Config
from surestep.errors import ConfigError, StorageError
from surestep.scoring.checkpoint.find import list_checkpoints
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.training.experiment_folder import check_space, prune, refuse_existing, start_folder
from surestep.training.run import train

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def config(run_config: Callable[..., Config]) -> Config:
    return run_config()


def fake_checkpoints(folder: Path, *steps: int) -> None:
    for step in steps:
        (folder / f"checkpoint_step_{step}" / "training_state").mkdir(parents=True)


def kept(folder: Path) -> list[int]:
    return [step for step, _ in list_checkpoints(folder)]


def test_a_folder_that_is_not_there_or_empty_is_no_obstacle(config: Config) -> None:
    refuse_existing(config.experiment_dir, overwrite=False)
    assert not config.experiment_dir.exists()
    config.experiment_dir.mkdir(parents=True)
    refuse_existing(config.experiment_dir, overwrite=False)
    assert list(config.experiment_dir.iterdir()) == []


@pytest.mark.slow
def test_an_existing_run_is_refused_naming_both_ways_out(config: Config) -> None:
    train(config, Watcher())
    before = hashes(config.experiment_dir)
    with pytest.raises(ConfigError) as caught:
        train(config, Watcher())
    for words in (str(config.experiment_dir), "--resume", "--overwrite", "--experiment_name"):
        assert words in str(caught.value)
    assert hashes(config.experiment_dir) == before


@pytest.mark.slow
def test_overwriting_replaces_a_run(config: Config) -> None:
    train(config, Watcher())
    config.training.max_steps = 3
    train(config, Watcher(), overwrite=True)
    assert kept(config.experiment_dir) == [3]


@pytest.mark.parametrize("name", ["thesis.tex", "checkpoints", ".git"])
def test_overwriting_spares_a_folder_with_files_of_others(config: Config, name: str) -> None:
    config.experiment_dir.mkdir(parents=True)
    fake_checkpoints(config.experiment_dir, 5)
    (config.experiment_dir / name).write_text("mine")
    before = hashes(config.experiment_dir)
    with pytest.raises(ConfigError, match=f"files that no run wrote \\({name}\\)"):
        train(config, Watcher(), overwrite=True)
    assert hashes(config.experiment_dir) == before


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_file_in_the_place_of_the_folder_is_refused(config: Config, overwrite: bool) -> None:
    config.experiment_dir.parent.mkdir(parents=True)
    config.experiment_dir.write_text("mine")
    with pytest.raises(ConfigError):
        refuse_existing(config.experiment_dir, overwrite=overwrite)
    assert config.experiment_dir.read_text() == "mine"


@pytest.mark.slow
def test_every_file_of_a_run_counts_as_its_own(config: Config) -> None:
    pytest.importorskip("tensorboard", reason="without it a run writes no TensorBoard folder")
    config.training.tensorboard = True
    train(config, Watcher())
    assert (config.experiment_dir / "tensorboard").is_dir()
    refuse_existing(config.experiment_dir, overwrite=True)


def test_an_output_folder_that_cannot_be_made_is_one_line(config: Config, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config.output_dir = tmp_path / "file" / "outputs"
    with pytest.raises(StorageError, match="--output_dir"):
        start_folder(config.experiment_dir, overwrite=False)


def test_only_the_last_two_checkpoints_keep_their_training_state(tmp_path: Path) -> None:
    fake_checkpoints(tmp_path, 5, 10, 15, 100)
    assert prune(tmp_path, keep=None, best_step=5) == []
    assert kept(tmp_path) == [5, 10, 15, 100]
    assert [(path / "training_state").is_dir() for _, path in list_checkpoints(tmp_path)] == [False, False, True, True]


@pytest.mark.parametrize(
    ("keep", "best", "expected"),
    [(1, 5, [5, 20]), (1, 20, [15, 20]), (2, 10, [10, 15, 20]), (1, None, [20]), (9, 5, [5, 10, 15, 20])],
)
def test_a_limit_keeps_the_best_and_the_last(tmp_path: Path, keep: int, best: int | None, expected: list[int]) -> None:
    fake_checkpoints(tmp_path, 5, 10, 15, 20)
    said = prune(tmp_path, keep=keep, best_step=best)
    assert kept(tmp_path) == expected
    assert len(said) == 4 - len(expected)


@pytest.mark.slow
def test_a_run_with_a_limit_ends_with_its_best_and_its_last_checkpoint(
    run_config: Callable[..., Config], validations_give: Callable[..., None]
) -> None:
    config = run_config(max_steps=9, save_steps=2, save_total_limit=1)
    validations_give([0.9, 0.6, 0.6, 0.4, 0.5])
    watcher = Watcher()
    trained = train(config, watcher)
    best = json.loads((config.experiment_dir / "best_checkpoint.json").read_text())
    validations = {record.step: record.value for record in watcher.of("validated")}
    assert best["value"] == validations[best["step"]]
    assert best["checkpoint"] == f"checkpoint_step_{best['step']}"
    assert best["metric"] == "nll"
    assert best["step"] == 4
    assert kept(config.experiment_dir) == [best["step"], 9]
    assert any("save_total_limit 1" in line for line in watcher.of("say"))
    assert trained.result.best == config.experiment_dir / best["checkpoint"]
    load_checkpoint(trained.result.best)


@pytest.mark.slow
def test_the_last_step_is_saved_though_it_is_no_multiple(run_config: Callable[..., Config]) -> None:
    config = run_config(max_steps=7, save_steps=3)
    train(config, Watcher())
    assert kept(config.experiment_dir) == [3, 6, 7]
    states = [(path / "training_state").is_dir() for _, path in list_checkpoints(config.experiment_dir)]
    assert states == [False, True, True]
    load_checkpoint(config.experiment_dir / "checkpoint_step_3")  # whole without its training state


def fake_disk(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10**12, 0, free))


def test_a_disk_too_small_for_one_checkpoint_is_refused_before_anything_is_written(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_disk(monkeypatch, 1000)
    with pytest.raises(StorageError, match="--output_dir"):
        train(config, Watcher())
    assert not config.experiment_dir.exists()


def test_a_disk_too_small_for_all_checkpoints_is_said(
    run_config: Callable[..., Config], build_small: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = run_config(max_steps=100, save_steps=1)
    model = build_small("llama", lora=True).model
    weights = sum(p.numel() * 4 for p in model.parameters() if p.requires_grad)
    fake_disk(monkeypatch, 20 * weights)
    warning = check_space(config.experiment_dir, config.training, model)
    assert warning is not None
    for words in ("100 checkpoints", "--save_total_limit", "--save_steps"):
        assert words in warning
    config.training.save_total_limit = 2
    assert check_space(config.experiment_dir, config.training, model) is None


@pytest.mark.slow
def test_a_full_disk_during_a_checkpoint_harms_nothing_that_was_saved(
    run_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every place where writing a checkpoint can fail, one after another."""
    import surestep.scoring.checkpoint.save as checkpoint
    import surestep.training.optimizer_step as optimizer_step

    def full(*_args: Any, **_kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    for number, (module, name) in enumerate(
        [
            (checkpoint, "save_weights"),
            (checkpoint, "write_manifest"),
            (optimizer_step, "save_state"),
        ]
    ):
        config = run_config(experiment_name=f"full-{number}", save_steps=2)
        found: dict[str, dict[str, str]] = {}

        def fill(module: Any = module, name: str = name, config: Config = config, found: Any = found) -> None:
            found["before"] = hashes(config.experiment_dir / "checkpoint_step_2")
            monkeypatch.setattr(module, name, full)

        with monkeypatch.context(), pytest.raises(StorageError) as caught:
            train(config, Watcher({3: fill}))
        monkeypatch.undo()
        for words in ("checkpoint_step_4", "No space left on device", "--resume"):
            assert words in str(caught.value)
        assert hashes(config.experiment_dir / "checkpoint_step_2") == found["before"]
        assert sorted(path.name for path in config.experiment_dir.glob("*checkpoint_step*")) == ["checkpoint_step_2"]
        watcher = Watcher()
        train(config, watcher, resume=True)
        assert watcher.of("started") == [(2, 6)]

"""A run is resumed on the data that it was started with, and on no other in silence."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runs import Watcher, hashes, write_own
from surestep.cli.main import main
from surestep.config import Config
from surestep.data.sources import source as source_module
from surestep.errors import CheckpointError
from surestep.scoring.checkpoint.manifest import read_manifest, write_manifest
from surestep.training.run import train


@pytest.fixture
def started(run_config: Callable[..., Config], run_files: Path, tmp_path: Path) -> Config:
    """A run of six steps on files of its own, stopped after two."""
    for name in ("train", "validation", "test"):
        shutil.copy(run_files / f"{name}.jsonl", tmp_path / f"{name}.jsonl")
    config = run_config(experiment_name="cut", use_eqasc=True)
    config.data.own_train, config.data.own_test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    config.data.own_validation = tmp_path / "validation.jsonl"
    train(config, Watcher({2: lambda: os.kill(os.getpid(), signal.SIGTERM)}))
    return config


def refused(config: Config) -> str:
    """The one line with which resuming is refused, every file as it was."""
    before = hashes(config.experiment_dir)
    with pytest.raises(CheckpointError) as caught:
        train(config, Watcher(), resume=True)
    assert "\n" not in str(caught.value)
    assert hashes(config.experiment_dir) == before
    return str(caught.value)


def state_of(config: Config) -> dict[str, Any]:
    path = config.experiment_dir / "checkpoint_step_2" / "training_state" / "state.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_the_state_holds_a_fingerprint_of_every_split_that_decides_the_run(started: Config) -> None:
    sources = state_of(started)["sources"]
    assert set(sources) == {"own train", "own validation", "eqasc train", "eqasc validation"}
    assert all(len(found) == 64 for found in sources.values())


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "validation"])
def test_one_changed_label_is_refused_by_dataset_and_file(started: Config, tmp_path: Path, split: str) -> None:
    path = tmp_path / f"{split}.jsonl"
    text = path.read_text()
    assert '"confidence": 0.5' in text or '"confidence": 1.0' in text
    path.write_text(text.replace('"confidence": 1.0', '"confidence": 0.9', 1))
    message = refused(started)
    for words in (f"own {split}", str(path), "--overwrite", "--accept_changed_data"):
        assert words in message
    assert "eqasc" not in message
    path.write_text(text)
    assert train(started, Watcher(), resume=True).result.steps == 6


@pytest.mark.slow
def test_the_same_content_under_another_name_is_the_same_data(started: Config, tmp_path: Path) -> None:
    started.data.own_train = (tmp_path / "train.jsonl").rename(tmp_path / "renamed.jsonl")
    assert train(started, Watcher(), resume=True).result.steps == 6


def test_rows_in_another_order_are_another_file(started: Config, tmp_path: Path) -> None:
    """They would train to the same weights, but that is known only when they have been read."""
    path = tmp_path / "validation.jsonl"
    path.write_text("".join(sorted(path.read_text().splitlines(keepends=True), reverse=True)))
    assert f"changed: own validation ({path})" in refused(started)


@pytest.mark.slow
def test_another_way_to_read_or_divide_the_same_file_is_named(started: Config, tmp_path: Path) -> None:
    started.data.bad_rows = "skip"
    assert f"own train ({tmp_path / 'train.jsonl'}), the same file, read or divided otherwise" in refused(started)


@pytest.mark.slow
def test_another_version_of_reading_is_another_run(started: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ORDER_VERSION", "TEXT_VERSION", "IDENTITY_VERSION"):
        with monkeypatch.context() as patch:
            patch.setattr(source_module, name, 99)
            assert "read or divided otherwise" in refused(started)


def test_test_splits_count_where_their_problems_are_removed(started: Config, tmp_path: Path) -> None:
    started.data.remove_overlap = True
    message = refused(started)
    assert "not read then: " in message
    assert f"own test ({tmp_path / 'test.jsonl'})" in message
    assert "changed: " not in message


@pytest.mark.slow
def test_another_file_of_the_test_split_decides_only_what_is_removed(started: Config, tmp_path: Path) -> None:
    write_own(tmp_path / "test.jsonl", 3, seed=9, offset=5000)
    assert train(started, Watcher(), resume=True).result.steps == 6


@pytest.mark.slow
def test_settings_that_make_other_splits_are_refused(started: Config) -> None:
    started.training.seed += 1
    assert "eqasc" in refused(started), "eqasc's validation is held out by the seed"


def test_a_dataset_more_or_less_is_refused(started: Config) -> None:
    started.data.use_eqasc = False
    assert "no longer read: eqasc train, eqasc validation" in refused(started)
    started.data.use_eqasc = started.data.use_prm800k = True
    started.data.prm800k_phase = 1
    assert "prm800k train" in refused(started)


@pytest.mark.slow
def test_changed_data_may_be_accepted_and_that_is_said(started: Config, tmp_path: Path) -> None:
    write_own(tmp_path / "train.jsonl", 20, seed=7, offset=300)
    refused(started)
    watcher = Watcher()
    assert train(started, watcher, resume=True, accept_changed_data=True).result.steps == 6
    assert any("own train" in line and "--accept_changed_data" in line for line in watcher.of("say"))
    # The checkpoints from here on are of the new data.
    assert train(started, Watcher(), resume=True).result.steps == 6


@pytest.mark.slow
def test_a_run_of_before_fingerprints_is_refused(started: Config) -> None:
    folder = started.experiment_dir / "checkpoint_step_2"
    state = state_of(started)
    del state["sources"], state["validations_diverged"]
    state["interval"].pop("weights", None)
    (folder / "training_state" / "state.json").write_text(json.dumps(state), encoding="utf-8")
    write_manifest(folder, read_manifest_unchecked(folder))
    message = refused(started)
    for words in ("earlier Surestep", "normalise", "--overwrite", "--init_from"):
        assert words in message
    assert train(started, Watcher(), resume=True, accept_changed_data=True).result.steps == 6


def read_manifest_unchecked(folder: Path) -> Any:
    """The manifest of a checkpoint whose state was changed by hand."""
    return read_manifest(folder, with_state=False)


@pytest.mark.slow
def test_on_the_command_line_it_is_one_line_and_exit_code_2(
    started: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_own(tmp_path / "train.jsonl", 20, seed=7, offset=300)
    command = ["train", "--resume", "--output_dir", str(started.output_dir), "--experiment_name", "cut"]
    command += ["--preset", "lora"]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "own train" in error
    assert main(["train", "--accept_changed_data", "--experiment_name", "another"]) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*command, "--accept_changed_data"]) == 0

"""A calibration in a checkpoint: applied, guarded by its hash, and put there without a moment of invalidity."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runs import hashes
from scores import scores_of
from strategies import random_tree
from surestep.calibration import Calibration, Identity, Isotonic, Platt, Temperature
from surestep.config import Config
from surestep.errors import CheckpointError, StorageError
from surestep.files import CALIBRATION, MANIFEST
from surestep.scoring.build_model import BuiltModel
from surestep.scoring.checkpoint import manifest as manifest_module
from surestep.scoring.checkpoint.calibration_file import read_calibration, store_calibration
from surestep.scoring.checkpoint.export import export_merged
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.scoring.checkpoint.manifest import read_manifest
from surestep.scoring.checkpoint.save import save_checkpoint

TREES = [random_tree(seed, num_nodes=8) for seed in range(3)]
OLD = Calibration(Temperature(2.0), {"own": Platt(0.5, -1.0)}, {"steps": 100})
NEW = Calibration(Isotonic((0.2, 0.7), (0.1, 0.9), 0.01))


@pytest.fixture(scope="module")
def plain(
    build_small: Callable[..., BuiltModel],
    small_config: Callable[..., Config],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A checkpoint without a calibration, with training state."""
    folder = tmp_path_factory.mktemp("plain") / "checkpoint_step_5"
    config = small_config("llama", lora=True)

    def write_state(state: Path) -> None:
        (state / "state.json").write_text('{"step": 5}')

    built = build_small(config=config)
    save_checkpoint(folder, built, config, step=5, label_means={"own": 0.7}, write_state=write_state)
    return folder


@pytest.fixture
def folder(plain: Path, tmp_path: Path) -> Path:
    """One that a test may change."""
    return Path(shutil.copytree(plain, tmp_path / "checkpoint_step_5"))


def store(folder: Path, calibration: Calibration | None) -> None:
    store_calibration(folder, read_manifest(folder, with_state=False), calibration)


def scores(folder: Path, **options: Any) -> list[float]:
    loaded = load_checkpoint(folder)
    scorer = loaded.scorer(loaded.config, calibrated=options.pop("calibrated", True))
    return [value for tree in scores_of(scorer, TREES, **options) for value in tree if value is not None]


@pytest.mark.slow
def test_whatever_scores_applies_it_unless_told_not_to(folder: Path) -> None:
    raw = scores(folder)
    store(folder, OLD)
    assert read_calibration(folder) == OLD
    assert load_checkpoint(folder).built.calibration == OLD
    assert scores(folder) == pytest.approx(OLD.pooled.apply(raw).tolist(), abs=1e-15)
    assert scores(folder, calibrated=False) == raw
    assert scores(folder) != raw


def test_a_datasets_own_map_applies_only_where_the_request_names_it(folder: Path) -> None:
    store(folder, OLD)
    raw = scores(folder, calibrated=False)
    assert scores(folder, dataset="own") == pytest.approx(Platt(0.5, -1.0).apply(raw).tolist(), abs=1e-15)
    assert scores(folder, dataset="another") == scores(folder)


def test_raw_scores_stand_beside_calibrated_ones(folder: Path) -> None:
    store(folder, OLD)
    loaded = load_checkpoint(folder)
    scorer = loaded.built.scorer(loaded.config)
    for found in scorer.score(TREES):
        assert found.confidence_N.tolist() == OLD.pooled.apply(found.raw_N).tolist()
        assert found.confidence_N.tolist() != found.raw_N.tolist()


def test_only_calibration_and_manifest_differ_and_the_rest_of_the_manifest_stays(folder: Path) -> None:
    before, said = hashes(folder), json.loads((folder / MANIFEST).read_text())
    store(folder, OLD)
    after = hashes(folder)
    assert {name for name in after if after[name] != before.get(name)} == {CALIBRATION, MANIFEST}
    now = json.loads((folder / MANIFEST).read_text())
    entry = now["files"].pop(CALIBRATION)
    assert entry["sha256"] == after[CALIBRATION]
    assert {**now, "manifest_sha256": ""} == {**said, "manifest_sha256": ""}
    load_checkpoint(folder, with_state=True)


def test_taking_it_out_gives_the_checkpoint_of_before(folder: Path) -> None:
    before = hashes(folder)
    store(folder, OLD)
    store(folder, None)
    assert hashes(folder) == before
    store(folder, None)
    assert hashes(folder) == before, "there was none to take out"


def test_nothing_else_is_left_beside_it(folder: Path) -> None:
    for calibration in (OLD, NEW, None):
        store(folder, calibration)
        assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("position", [0, 0.3, 0.5, 0.999])
def test_one_changed_byte_is_noticed(position: float, folder: Path) -> None:
    store(folder, OLD)
    path = folder / CALIBRATION
    changed = bytearray(path.read_bytes())
    changed[int(position * len(changed))] ^= 1
    path.write_bytes(changed)
    with pytest.raises(CheckpointError, match=r"calibration\.json has changed"):
        load_checkpoint(folder)


def test_a_calibration_that_is_gone_or_was_put_there_by_hand_is_noticed(folder: Path) -> None:
    store(folder, OLD)
    content = (folder / CALIBRATION).read_bytes()
    (folder / CALIBRATION).unlink()
    with pytest.raises(CheckpointError, match=r"calibration\.json is missing"):
        load_checkpoint(folder)
    (folder / CALIBRATION).write_bytes(content)
    store(folder, None)
    (folder / CALIBRATION).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"does not list: calibration\.json"):
        load_checkpoint(folder)


@pytest.mark.parametrize("text", ["[]", "{", '{"format_version": 2}', '{"format_version": 1}', "\xff"])
def test_a_calibration_that_is_none_is_one_line_even_where_its_hash_is_right(text: str, folder: Path) -> None:
    manifest = read_manifest(folder, with_state=False)
    manifest_module.replace_file(folder, manifest, CALIBRATION, text.encode("latin-1"))
    with pytest.raises(CheckpointError, match="--remove") as caught:
        load_checkpoint(folder)
    assert "\n" not in str(caught.value)
    store(folder, None)
    load_checkpoint(folder)


def cut_short(monkeypatch: pytest.MonkeyPatch, at: int, stop: Callable[[], None]) -> dict[str, int]:
    """From now on `stop` runs in place of the `at`-th change to the disk (from 0), or half-way into a write."""
    count = {"changes": 0}

    def counted(change: Callable[..., Any], half: Callable[..., Any] | None = None) -> Callable[..., Any]:
        def run(path: Path, *args: Any, **options: Any) -> Any:
            if count["changes"] == at:
                if half is not None:
                    half(path, *args)
                count["changes"] += 1
                stop()
            count["changes"] += 1
            return change(path, *args, **options)

        return run

    def half_written(path: Path, content: bytes) -> None:
        path.write_bytes(content[: len(content) // 2])

    monkeypatch.setattr(manifest_module, "_write_through", counted(manifest_module._write_through, half_written))
    monkeypatch.setattr(Path, "replace", counted(Path.replace))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))
    return count


CHANGES = [(None, OLD), (OLD, NEW), (OLD, None), (OLD, OLD)]


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_a_kill_at_any_moment_leaves_the_old_checkpoint_or_the_new_one(
    before: Calibration | None, after: Calibration | None, folder: Path
) -> None:
    """A process of its own for each moment, ended without any clearing up."""
    store(folder, before)
    states = []
    for moment in range(20):
        victim = Path(shutil.copytree(folder, folder.parent / f"at_{moment}" / "checkpoint_step_5"))
        child = os.fork()
        if child == 0:
            try:
                with pytest.MonkeyPatch.context() as patch:
                    cut_short(patch, moment, lambda: os._exit(9))
                    store(victim, after)
            finally:
                os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        read_manifest(victim, with_state=True)
        states.append(read_calibration(victim))
        assert states[-1] in (before, after)
        # The next command is not hindered by what was left beside the folder, and finishes the work.
        store(victim, NEW)
        assert read_calibration(victim) == NEW
        assert [path.name for path in victim.parent.iterdir()] == [victim.name]
        if code == 0:
            break
    assert code == 0, "more moments than were tried"
    assert len(states) > 5
    assert states[0] == before
    assert states[-1] == after
    changed = [state == after for state in states]
    assert changed == sorted(changed), "first the old one, from some moment on the new one"


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_a_disk_that_refuses_at_any_moment_is_one_line_and_the_checkpoint_stays_valid(
    before: Calibration | None, after: Calibration | None, folder: Path
) -> None:
    store(folder, before)

    def full() -> None:
        raise OSError(28, os.strerror(28))

    messages = []
    for moment in range(10):
        victim = Path(shutil.copytree(folder, folder.parent / f"at_{moment}" / "checkpoint_step_5"))
        with pytest.MonkeyPatch.context() as patch:
            cut_short(patch, moment, full)
            try:
                store(victim, after)
            except StorageError as error:
                messages.append(str(error))
        read_manifest(victim, with_state=True)
        assert read_calibration(victim) in (before, after)
    assert len(messages) >= 4
    assert all("No space left" in message and "\n" not in message for message in messages)


def test_a_checkpoint_behind_a_link_is_changed_where_it_lies(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "latest"
    link.parent.mkdir()
    link.symlink_to(folder)
    store(link, OLD)
    assert read_calibration(folder) == OLD
    assert [path.name for path in link.parent.iterdir()] == ["latest"]
    load_checkpoint(link)


def test_export_keeps_it(folder: Path, tmp_path: Path) -> None:
    store(folder, OLD)
    export_merged(folder, tmp_path / "exported")
    assert load_checkpoint(tmp_path / "exported").built.calibration == OLD
    assert scores(tmp_path / "exported") == pytest.approx(scores(folder), abs=1e-5)


def test_a_manifest_of_before_there_were_calibrations_is_read(folder: Path) -> None:
    values = json.loads((folder / MANIFEST).read_text())
    del values["pending"], values["manifest_sha256"]
    values["manifest_sha256"] = manifest_module._hash_of(values)
    (folder / MANIFEST).write_text(json.dumps(values))
    assert load_checkpoint(folder).built.calibration is None
    store(folder, Calibration(Identity()))
    assert load_checkpoint(folder).built.calibration == Calibration(Identity())

"""The disk is full at every write of a command, and a run has a quota that grows step by step."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from injected_faults import forked
from runs import Watcher
from surestep.cli.main import main
from surestep.config import Config
from surestep.scoring.checkpoint.find import list_checkpoints
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.training.run import train
from survival import RHYTHM, assert_named, assert_same_run, refuses_and_keeps, unfinished

pytestmark = pytest.mark.faults
Tally = Callable[..., None]
_NEW_MOUNTS, _NEW_USERS, _REMOUNT = 0x00020000, 0x10000000, 32


@pytest.fixture
def trained(run_config: Callable[..., Config]) -> Config:
    config = run_config(max_steps=2, baselines=False)
    train(config, Watcher())
    return config


def every_write(
    fault: str,
    arguments: list[Any],
    outputs: Path,
    tally: Tally,
    *,
    check: Callable[[], None] = lambda: None,
    same: bool = True,
) -> None:
    failed = []
    for number in range(1, 300):
        try:
            if not refuses_and_keeps(number, arguments, outputs, same=same):
                break
            check()
        except AssertionError as error:
            failed.append(f"{number}: {error}")
            tally(fault, survived=False, named=False)
        else:
            tally(fault, survived=True, named=True)
    assert failed == []
    assert number > 10, number


def test_of_evaluate_and_report(trained: Config, drawn: None, tally: Tally) -> None:
    results = trained.output_dir / "results"
    checkpoint = trained.experiment_dir / "checkpoint_step_2"
    arguments = ["evaluate", "--checkpoint", checkpoint, "--output_dir", results, "--baselines", "false"]
    assert main([*map(str, arguments), "--split", "validation"]) == 0
    every_write("disk full at a write of evaluate", arguments, trained.output_dir, tally)
    every_write("disk full at a write of report", ["report", results], trained.output_dir, tally)


def test_of_calibrate_and_export(trained: Config, tally: Tally) -> None:
    checkpoint = trained.experiment_dir / "checkpoint_step_2"
    merged = trained.output_dir / "merged"

    def loads() -> None:
        load_checkpoint(checkpoint)
        shutil.rmtree(merged, ignore_errors=True)

    arguments = ["calibrate", "--checkpoint", checkpoint, "--method", "temperature"]
    # Behind the first rename the new calibration may stand: valid, as `store_calibration` promises.
    every_write("disk full at a write of calibrate", arguments, trained.output_dir, tally, check=loads, same=False)
    arguments = ["export", "--checkpoint", checkpoint, "--output_dir", merged]
    every_write("disk full at a write of export", arguments, trained.output_dir, tally, check=loads)


def test_of_train(run_config: Callable[..., Config], tmp_path: Path, tally: Tally) -> None:
    config = run_config(max_steps=2, save_steps=1, baselines=False)
    config.save(tmp_path / "config.json")
    config.output_dir.mkdir(parents=True)

    def whole() -> None:
        for path in config.experiment_dir.glob("checkpoint_step_*"):
            load_checkpoint(path)

    arguments = ["train", "--config", tmp_path / "config.json", "--overwrite"]
    every_write("disk full at a write of train", arguments, config.output_dir, tally, check=whole, same=False)


def mount(folder: Path, size: int, *, again: bool = False) -> None:
    """A file system of `size` bytes at `folder`, for this process alone."""
    library = ctypes.CDLL(None, use_errno=True)
    if not again:
        is_root = os.geteuid() == 0
        if library.unshare(_NEW_MOUNTS | (0 if is_root else _NEW_USERS)) or library.mount(b"", b"/", b"", 0x44000, b""):
            raise OSError(ctypes.get_errno(), "this system lets nobody mount")  # 0x44000: what follows is not shared
    options = f"size={size}".encode()
    if library.mount(b"tmpfs", bytes(folder), b"tmpfs", _REMOUNT if again else 0, options):
        raise OSError(ctypes.get_errno(), "this system lets nobody mount")


def test_a_run_whose_quota_grows_step_by_step(run_config: Callable[..., Config], tmp_path: Path, tally: Tally) -> None:
    """Each size breaks the run at another byte, in files written outside of Python too; with room it goes on."""
    whole = run_config(experiment_name="cut", output_dir=tmp_path / "whole", **RHYTHM)
    train(whole, Watcher())
    needed = sum(path.stat().st_size for path in whole.output_dir.rglob("*") if path.is_file())
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    config = run_config(experiment_name="cut", output_dir=outputs, **RHYTHM)
    config.save(tmp_path / "config.json")
    arguments = ["train", "--config", str(tmp_path / "config.json")]

    def run(size: int) -> int:
        mount(outputs, size)
        first = forked(lambda: main(arguments))
        for _, path in list_checkpoints(config.experiment_dir):
            load_checkpoint(path)
        assert unfinished(outputs) == []
        if first.code == 0:
            return 0
        assert_named(first)
        mount(outputs, 2**26, again=True)
        has_state = any((path / "training_state").is_dir() for _, path in list_checkpoints(config.experiment_dir))
        second = forked(lambda: main([*arguments, "--resume" if has_state else "--overwrite"]))
        assert second.code == 0, second.err
        assert_same_run(config, whole)
        return 3

    fault, failed, page = "quota of a run, growing step by step", [], 4096
    for size in range(4 * page, 4 * needed, max(needed // 20 // page, 1) * page):
        ended = forked(lambda size=size: run(size))
        if ended.code == 1 and "lets nobody mount" in ended.err:
            pytest.skip("this system lets nobody mount a file system of a chosen size")
        tally(fault, survived=ended.code in {0, 3}, named=ended.code in {0, 3})
        if ended.code == 0:
            break
        if ended.code != 3:
            failed.append(f"{size:,} bytes: {ended.err}")
    assert failed == []
    assert ended.code == 0, "the quota never sufficed"

"""Evaluation and calibration by two processes, as a launcher starts them, give what one gives."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from launched import launch_two
from runs import read_lines
from small_checkpoints import write_members
from surestep.cli.main import main
from surestep.config import Config


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
def test_two_processes_evaluate_and_calibrate_as_one(
    run_config: Callable[..., Config], build_small: Callable[..., Any], tmp_path: Path, quick_python: Path
) -> None:
    config = run_config(lora=True)
    (checkpoint,) = write_members(tmp_path / "one", build_small, config, 1)
    shutil.copytree(checkpoint, tmp_path / "two" / checkpoint.name)
    results = {}
    for name in ("one", "two"):
        place = tmp_path / name / checkpoint.name
        evaluate = ["evaluate", "--checkpoint", place, "--output_dir", tmp_path / name / "result"]
        evaluate += ["--save_predictions", "true", "--report", "false"]
        calibrate = ["calibrate", "--checkpoint", place, "--method", "platt"]
        for command in (evaluate, calibrate):
            if name == "one":
                assert main([str(part) for part in command]) == 0
                continue
            done = launch_two(quick_python, "surestep", command)
            assert done.returncode == 0, done.stderr
            assert done.stdout.count("next:") == (command is calibrate), "the first process alone speaks"
            assert done.stdout.count("results:") == (command is evaluate)
        report = json.loads((tmp_path / name / "result" / "eval_metrics.json").read_text())
        rows = read_lines(next((tmp_path / name / "result").glob("predictions*")))
        results[name] = report, rows, json.loads((place / "calibration.json").read_text())
    (one, rows, fitted), (two, rows_of_two, fitted_by_two) = results["one"], results["two"]
    assert len(rows) == len(rows_of_two) > 100
    for row, other in zip(rows, rows_of_two, strict=True):
        assert other == row | {name: pytest.approx(row[name], abs=1e-6) for name in row if "confidence" in name}
    assert two["overall"]["num_steps"] == one["overall"]["num_steps"]
    assert two["overall"]["nll"] == pytest.approx(one["overall"]["nll"], rel=1e-5)
    assert two["cost"]["tokens_read"] == one["cost"]["tokens_read"] > 0
    assert fitted_by_two["about"]["num_steps"] == fitted["about"]["num_steps"]
    close = {name: pytest.approx(fitted["pooled"][name], rel=1e-4, abs=1e-4) for name in ("slope", "intercept")}
    assert fitted_by_two["pooled"] == fitted["pooled"] | close


@pytest.mark.parametrize("rank", [0, 1])
def test_what_a_run_stands_for_is_said_by_the_first_process_alone(
    rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    (run / "checkpoint_step_2").mkdir(parents=True)
    (run / "checkpoint_step_2" / "manifest.json").touch()
    for name, value in {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}.items():
        monkeypatch.setenv(name, value)
    assert main(["calibrate", "--checkpoint", str(run), "--remove"]) == 2
    said = capsys.readouterr().err
    assert said.count("is a run: none is marked as best") == (rank == 0)
    assert "the work of one process" in said


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "--predictions", "rows.jsonl"],
        ["evaluate", "--scorer", "constant:0.5"],
        ["evaluate", "--checkpoint", "one", "two"],
        ["calibrate", "--scorer", "constant:0.5"],
        ["calibrate", "--checkpoint", "one", "--remove"],
        ["bench", "train"],
        ["export", "--checkpoint", "one", "--output_dir", "three"],
        ["check", "one"],
        ["demo"],
    ],
)
def test_what_nobody_shares_out_is_refused_to_several_processes(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").touch()
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert main(command) == 2
    assert "the work of one process, and a launcher started 2" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]

"""`surestep report`, and the page that `surestep evaluate` writes unless told not to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reports import make_rows, write_predictions

Command = Callable[..., str]
QUICK = ("--bootstrap_resamples", "20", "--baselines", "false")
"""The page is what is tested here."""


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    return write_predictions(tmp_path / "predictions.jsonl", make_rows(12))


@pytest.mark.slow
def test_evaluate_writes_the_page_unless_told_not_to(succeed: Command, predictions: Path, tmp_path: Path) -> None:
    out = succeed("evaluate", "--predictions", predictions, "--output_dir", tmp_path / "with", *QUICK)
    assert f"report: {tmp_path / 'with' / 'report.html'}" in out
    assert "not in the report: Training curve, mixture and model card: these figures name no checkpoint." in out
    assert {path.name for path in (tmp_path / "with").iterdir()} == {"eval_metrics.json", "report.html", "plots"}
    succeed("evaluate", "--predictions", predictions, "--output_dir", tmp_path / "without", "--report", "false", *QUICK)
    assert [path.name for path in (tmp_path / "without").iterdir()] == ["eval_metrics.json"]


@pytest.mark.slow
def test_report_makes_the_page_from_the_files(
    drawn_plots: None, succeed: Command, predictions: Path, tmp_path: Path
) -> None:
    succeed("evaluate", "--predictions", predictions, "--output_dir", tmp_path, "--report", "false", *QUICK)
    out = succeed("report", tmp_path)
    assert f"report: {tmp_path / 'report.html'}" in out
    first = (tmp_path / "report.html").read_bytes()
    assert b"Step 1 of problem" in first
    predictions.unlink()
    assert "predictions.jsonl" in succeed("report", tmp_path)
    assert (tmp_path / "report.html").read_bytes() == first
    succeed("report", tmp_path, "--allow_poorer")
    assert b"Step 1 of problem" not in (tmp_path / "report.html").read_bytes()


def test_a_folder_without_figures_is_one_line(fail: Command, tmp_path: Path) -> None:
    assert "holds no eval_metrics.json; name a folder that surestep evaluate wrote" in fail("report", tmp_path)
    assert "holds no eval_metrics.json" in fail("report", tmp_path / "nowhere")


@pytest.mark.slow
def test_a_row_outside_the_unit_interval_is_named(succeed: Command, fail: Command, predictions: Path) -> None:
    folder = predictions.parent
    succeed("evaluate", "--predictions", predictions, "--output_dir", folder, "--report", "false", *QUICK)
    rows = make_rows(12)
    rows[3]["confidence"] = 1.5
    write_predictions(predictions, rows)
    err = fail("report", folder)
    assert "predictions.jsonl, line 4: confidence is 1.5" in err


def test_a_checkpoint_that_is_none_is_refused(succeed: Command, fail: Command, predictions: Path) -> None:
    folder = predictions.parent
    succeed("evaluate", "--predictions", predictions, "--output_dir", folder, "--report", "false", *QUICK)
    assert "name a checkpoint_step_<N> with --checkpoint" in fail("report", folder, "--checkpoint", folder)


@pytest.mark.slow
def test_the_command_as_a_process(tmp_path: Path) -> None:
    """Without a folder it says how it is used; on a bad one it leaves one line, code 2 and no trace."""
    command = [sys.executable, "-m", "surestep.cli.main", "report"]
    usage = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (usage.returncode, "FOLDER" in usage.stderr) == (2, True)
    (tmp_path / "eval_metrics.json").write_text("{")
    bad = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (bad.returncode, bad.stderr.count("\n"), bad.stdout) == (2, 1, "")
    assert "eval_metrics.json: it cannot be read" in bad.stderr

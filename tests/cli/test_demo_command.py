"""`surestep demo`: the whole path, in few steps; `make demo` shows that the full one reaches its target."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from runs import read_lines
from surestep.cli.commands import demo
from surestep.cli.main import main
from surestep.config import Config

pytestmark = pytest.mark.slow  # the demo runs


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def _fewer_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    """A twentieth of the demo's problems: every part of the held-out ones still has some."""
    settings_of = demo.demo_config

    def fewer(args: argparse.Namespace) -> Config:
        config = settings_of(args)
        config.data.arithmetic_problems //= 20
        config.data.arithmetic_eval_problems //= 5
        return config

    monkeypatch.setattr(demo, "demo_config", fewer)


@pytest.mark.slow
@pytest.mark.usefixtures("_fewer_problems")
def test_too_few_steps_fail_honestly_and_leave_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["demo", "--max_steps", "2", "--output_dir", str(tmp_path / "outputs")]
    assert main(arguments) == 1
    said = capsys.readouterr().out
    for row in ("constant (training mean)", "step position", "before training", "after training", "best possible (p*)"):
        assert row in said
    for part in ("all seen in training", "held-out operands", "held-out rates", "both held out"):
        assert part in said
    assert said.index("confidence: mean (p - p*)² 0.") < said.index("before training"), "the confidence comes first"
    assert "expected above 0.5" in said
    best = json.loads((tmp_path / "outputs" / "demo" / "best_checkpoint.json").read_text())["checkpoint"]
    results = tmp_path / "outputs" / "eval_demo" / best
    report = json.loads((results / "eval_metrics.json").read_text())
    assert report["overall"]["r2"] < 0.5
    assert report["overall"]["truth"]["regret_noisy"] > 0
    predictions = read_lines(results / "predictions.jsonl.gz")
    assert len(predictions) == report["overall"]["num_steps"]
    assert json.loads((tmp_path / "outputs/eval_demo/eval_metrics.json").read_text())["split"] == "validation"


def test_a_bad_number_of_steps_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--max_steps", "0", "--output_dir", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("surestep: ")
    assert "max_steps is 0" in said
    assert said.count("\n") == 1

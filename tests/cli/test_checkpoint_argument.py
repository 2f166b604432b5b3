"""A checkpoint is named in the same two ways in every command, and a run stands for its best one."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from surestep.cli.checkpoint_argument import required, settle_checkpoint
from surestep.cli.main import _parsed
from surestep.errors import CheckpointError, ConfigError

BEFORE: dict[str, list[str]] = {
    "evaluate": [],
    "calibrate": [],
    "certify": [],
    "watch": [],
    "check": [],
    "export": [],
    "serve": [],
    "score": ["rows.jsonl"],
    "rerank": ["rows.jsonl"],
}
MORE = {"export": ["--output_dir", "out"], "watch": ["--data", "new.jsonl"]}
CALLS = [
    *(([command, *before], MORE.get(command, [])) for command, before in BEFORE.items()),
    *((["benchmark", kind], ["--data", "d"]) for kind in ("processbench", "first-error", "prmbench", "best-of-n")),
]


@pytest.mark.parametrize(("before", "more"), CALLS, ids=lambda part: "-".join(part[:2]))
def test_both_ways_are_one(before: list[str], more: list[str]) -> None:
    as_argument, as_flag = _parsed([*before, "mine", *more]), _parsed([*before, "--checkpoint", "mine", *more])
    for args in (as_argument, as_flag):
        assert settle_checkpoint(args) is None
        assert str(args.checkpoint) == str(required(args)) == "mine"
    twice = _parsed([*before, "mine", "--checkpoint", "other", *more])
    with pytest.raises(ConfigError, match=r"named twice: mine and --checkpoint other; drop one"):
        settle_checkpoint(twice)
    without = _parsed([*before, *more])
    assert settle_checkpoint(without) is None
    with pytest.raises(ConfigError, match="name a checkpoint"):
        required(without)


def run_of(folder: Path, *steps: int) -> Path:
    for step in steps:
        (folder / f"checkpoint_step_{step}").mkdir(parents=True)
        (folder / f"checkpoint_step_{step}" / "manifest.json").write_text("{}")
    return folder


def settled(folder: Path) -> tuple[Path, str | None]:
    args = _parsed(["evaluate", str(folder)])
    line = settle_checkpoint(args)
    return args.checkpoint, line


def test_a_run_stands_for_its_best_checkpoint_or_its_latest_and_says_so(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", 5, 10, 15)
    found, line = settled(run)
    assert found == run / "checkpoint_step_15"
    assert line is not None
    assert "its latest is taken" in line
    (run / "best_checkpoint.json").write_text(json.dumps({"checkpoint": "checkpoint_step_10"}))
    found, line = settled(run)
    assert found == run / "checkpoint_step_10"
    assert line is not None
    assert "best checkpoint by validation is checkpoint_step_10" in line
    assert settled(run / "checkpoint_step_5") == (run / "checkpoint_step_5", None)
    (run / "best_checkpoint.json").write_text("{")
    with pytest.raises(CheckpointError, match="is damaged"):
        settled(run)


def test_what_is_no_run_is_left_to_the_command(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone"):
        assert settled(path) == (path, None)
    assert settle_checkpoint(argparse.Namespace()) is None

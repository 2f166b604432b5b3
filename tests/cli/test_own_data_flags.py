"""Naming own data turns it on, with a line, whichever way it is named; whoever says more is heard."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from surestep.cli.commands import calibrate, check, evaluate, train
from surestep.cli.flags import config_from_args, override
from surestep.config import Config

NAMES = ("own_train", "own_validation", "own_test")


def parsed(configure: Callable[[argparse.ArgumentParser], None], *arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    configure(parser)
    return parser.parse_args([*arguments])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spelling", ["--{}", "--data.{}", "--{}="])
def test_a_flag_turns_own_data_on_and_the_defaults_off(
    name: str, spelling: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flag = spelling.format(name.replace("_", "-") if spelling == "--{}" else name)
    arguments = [f"{flag}a.jsonl"] if flag.endswith("=") else [flag, "a.jsonl"]
    config = config_from_args(parsed(train.configure, *arguments))
    assert config.data.used() == ["own"]
    assert getattr(config.data, name) == Path("a.jsonl")
    out, err = capsys.readouterr()
    line = f"· {name} named: own data is on, prm800k and eqasc off (--use_prm800k true keeps it)\n"
    assert (out, err) == ("", line)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ending", [".json", ".yaml"])
def test_a_configuration_file_does_the_same(
    name: str, ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"run{ending}"
    path.write_text(json.dumps({"data": {name: "a.jsonl"}}))
    assert config_from_args(parsed(train.configure, "--config", str(path))).data.used() == ["own"]
    assert f"{name} named: own data is on" in capsys.readouterr().err
    assert Config.from_file(path).data.used() == ["own"]


@pytest.mark.parametrize(
    ("in_file", "flags", "used"),
    [
        ({}, ["--data", "a", "--use_prm800k"], ["prm800k", "own"]),
        ({"use_prm800k": True}, ["--data", "a"], ["prm800k", "own"]),
        ({"use_arithmetic": True}, ["--data", "a"], ["arithmetic", "own"]),
        ({}, ["--data", "a", "--use_own"], ["prm800k", "eqasc", "own"]),
        ({"own_train": "b"}, ["--use_eqasc"], ["eqasc", "own"]),
        ({"own_train": "b", "use_own": False}, [], ["prm800k", "eqasc"]),
        ({"own_train": "b", "use_own": False}, ["--own_test", "c"], ["own"]),
        ({}, ["--data", "none"], ["prm800k", "eqasc"]),
    ],
)
def test_whoever_says_more_is_heard(
    in_file: dict[str, object], flags: list[str], used: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"data": in_file}))
    config = config_from_args(parsed(train.configure, "--config", str(path), *flags))
    assert config.data.used() == used


def test_own_data_that_is_not_read_is_said_at_the_start_of_a_run() -> None:
    config = config_from_args(parsed(train.configure, "--own_train", "a", "--use_own", "false"))
    said = "own_train named, but not read: use_own is false (--use_own true)"
    assert said in config.warnings()
    config.data.use_own = True
    assert said not in config.warnings()


@pytest.mark.parametrize(
    ("configure", "arguments", "field"),
    [
        (train.configure, ["--data", "a", "--columns", "problem=q", "steps=s"], "own_train"),
        (evaluate.configure, ["--data", "a", "--columns", "problem=q", "steps=s"], "own_test"),
        (calibrate.configure, ["--checkpoint", "c", "--own_validation", "a", "--columns", "problem=q", "steps=s"],
         "own_validation"),
    ],
)  # fmt: skip
def test_every_command_takes_it_over_a_checkpoints_configuration(
    configure: Callable[[argparse.ArgumentParser], None],
    arguments: list[str],
    field: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = override(Config(), parsed(configure, *arguments))
    assert config.data.used() == ["own"]
    assert getattr(config.data, field) == Path("a")
    assert config.data.own_columns == {"problem": "q", "steps": "s"}
    assert f"{field} named: own data is on" in capsys.readouterr().err


def test_check_keeps_the_mixture_that_the_checkpoint_was_trained_on(capsys: pytest.CaptureFixture[str]) -> None:
    args = parsed(check.configure, "c", "--data", "a", "--columns", "problem=q", "steps=s")
    config = check._with_flags(Config(), args)
    assert config.data.used() == ["prm800k", "eqasc", "own"], "leaks of its training data are still looked for"
    assert (config.data.own_test, config.data.own_columns) == (Path("a"), {"problem": "q", "steps": "s"})
    assert "own_test named: own data is on; prm800k and eqasc on as before" in capsys.readouterr().err


def test_calibrate_reads_its_data_in_any_layout() -> None:
    args = parsed(calibrate.configure, "--checkpoint", "c", "--data", "a.parquet")
    config = calibrate._config(args, Config())
    assert (config.data.used(), config.data.own_validation, config.data.own_format) == (
        ["own"],
        Path("a.parquet"),
        "auto",
    )

"""`surestep data inspect` shows the run that `surestep train` with the same flags trains."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from surestep.cli.commands import data, train

Command = Callable[..., str]

QUICK = ["--max_steps", "1", "--report", "false", "--baselines", "false", "--bootstrap_resamples", "0"]


def options(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings}


def test_every_flag_of_training_is_a_flag_of_inspect() -> None:
    training, command = argparse.ArgumentParser(), argparse.ArgumentParser()
    train.configure(training)
    data.configure(command)
    (actions,) = (action for action in command._actions if isinstance(action.choices, dict))
    assert isinstance(actions.choices, dict)
    assert options(training) - options(actions.choices["inspect"]) == set()


CONFIGURATIONS: dict[str, list[str]] = {
    "own file for validation": ["--own_validation", "{files}/validation.jsonl"],
    "held out, another share": ["--validation_fraction", "0.3", "--max_steps_per_example", "2"],
    "held out, another seed": ["--validation_fraction", "0.3", "--seed", "7"],
    "two datasets": [
        *("--use_prm800k", "true", "--use_eqasc", "true", "--prm800k_phase", "1", "--data_dir", "{files}"),
        *("--eqasc_weight", "3", "--own_weight", "0", "--seed", "3", "--max_length", "120"),
    ],
    "the test file is the training file": [
        *("--own_test", "{files}/train.jsonl", "--own_validation", "{files}/train.jsonl", "--max_train_samples", "11"),
        *("--use_arithmetic", "--arithmetic_problems", "30", "--arithmetic_eval_problems", "7"),
    ],
    "overlap removed": [
        *("--own_test", "{files}/overlap.jsonl", "--remove_overlap", "--max_train_samples", "20", "--preset", "lora"),
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_inspect_shows_what_train_reports(
    name: str, succeed: Command, flags: list[str], run_files: Path, tmp_path: Path
) -> None:
    overlap = run_files / "overlap.jsonl"
    overlap.write_text("".join((run_files / "train.jsonl").read_text("utf-8").splitlines(True)[:9]), encoding="utf-8")
    given = [*flags, *QUICK, *(flag.format(files=run_files) for flag in CONFIGURATIONS[name])]
    looked = json.loads(succeed("data", "inspect", "--json", *given))
    succeed("train", *given)
    reported: dict[str, Any] = json.loads((tmp_path / "outputs" / "run" / "data_report.json").read_text())
    run = looked["run"]
    for part in ("datasets", "validation", "selection", "lines"):
        assert run[part] == reported[part], part
    assert run.get("overlaps") == reported.get("overlaps")
    shown = {(split["dataset"], split["split"]): split["description"] for split in looked["splits"]}
    for dataset, held_out in reported["validation"].items():
        described = shown[dataset, "validation"]
        assert (described["num_trees"], described["num_labels"]) == (held_out["trees"], held_out["labels"])
    for dataset, selected in reported["selection"].items():
        described = shown[dataset, "train"]
        assert (described["num_trees"], described["num_labels"]) == (selected["trees_read"], selected["labels_read"])


def test_a_file_and_a_preset_count_for_inspect_as_for_train(
    succeed: Command, flags: list[str], run_files: Path, tmp_path: Path
) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"data": {"validation_fraction": 0.5}, "training": {"seed": 5, "max_steps": 77}}))
    steps = flags.index("--max_steps")
    without_steps = flags[:steps] + flags[steps + 2 :]
    run = json.loads(succeed("data", "inspect", "--json", "--config", path, "--preset", "lora", *without_steps))["run"]
    assert (run["seed"], run["max_steps"]) == (5, 77)
    assert run["validation"]["own"]["problems"] > 10


def test_the_costs_of_the_settings_are_said_for_people(succeed: Command, flags: list[str], run_files: Path) -> None:
    length = 65
    limits = ["--max_steps_per_example", "3", "--max_length", str(length), "--max_train_samples", "12", "--seed", "9"]
    out = succeed("data", "inspect", *flags, *limits, "--own_test", run_files / "train.jsonl")
    assert "seed 9; 4 steps of 2 trees" in out
    assert "own: 100.0% of the loss; 12 training problems" in out
    for words in (
        "remove_overlap is off; it would take out ",
        "max_train_samples 12 leaves out ",
        "max_steps_per_example 3 drops ",
        f"max_length {length} drops ",
    ):
        number = out.split(words)[1].split(" ")[0]
        assert int(number.replace(",", "")) > 0, words


def test_without_the_backbones_tokenizer_only_max_length_is_unknown(
    succeed: Command, flags: list[str], run_files: Path
) -> None:
    given = [*flags, "--max_train_samples", "12"]
    with_it = json.loads(succeed("data", "inspect", "--json", *given))["run"]
    given[given.index("--backbone") + 1] = str(run_files / "no-such-backbone")
    without = json.loads(succeed("data", "inspect", "--json", *given))["run"]
    assert with_it["max_length_not_known"] is None
    assert "no-such-backbone" in without["max_length_not_known"]
    assert without["selection"] == with_it["selection"]
    assert "what it drops is not known" in succeed("data", "inspect", *given)


def test_a_run_that_train_refuses_is_said_and_the_data_is_shown_all_the_same(
    succeed: Command, flags: list[str]
) -> None:
    given = [*flags, "--mixed_precision", "fp16"]
    out = succeed("data", "inspect", *given)
    assert "own train" in out
    assert "not shown, because train would not start: training.mixed_precision is fp16" in out

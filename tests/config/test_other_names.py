"""Names of other trainers: each is taken, or answered with what there is here, as a flag and in a file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from surestep.cli.commands import train
from surestep.cli.flags import config_from_args, fields
from surestep.cli.main import main
from surestep.cli.parser import OneLineParser
from surestep.config import Config
from surestep.config.other_names import ALIASES, ANSWERS, OPTIMIZERS
from surestep.errors import ConfigError

PATHS = [path for path, _ in fields()]
NAMES = {path.rpartition(".")[2] for path in PATHS}


def parse(*arguments: str) -> Config:
    parser = OneLineParser(allow_abbrev=False)
    train.configure(parser)
    return config_from_args(parser.parse_args(arguments))


def get(config: Any, path: str) -> Any:
    for name in path.split("."):
        config = getattr(config, name)
    return config


@pytest.mark.parametrize(("path", "alias"), [(path, alias) for path, names in ALIASES.items() for alias in names])
def test_an_alias_sets_its_field(path: str, alias: str) -> None:
    values = {
        "lr_scheduler": "linear",
        "optim": "adamw_bnb_8bit",
        "metric_for_best_model": "mse",
        "lora_target": "auto",
        "columns": "problem=question",
    }
    text = values.get(alias, "11")
    by_alias, by_name = parse(f"--{alias}", text), parse(f"--{path}", text)
    assert get(by_alias, path) == get(by_name, path)
    assert alias not in NAMES


def test_every_field_and_flag_that_an_answer_names_is_there() -> None:
    parser = OneLineParser(allow_abbrev=False)
    train.configure(parser)
    known = {option for action in parser._actions for option in action.option_strings} | {"--eval_token_budget"}
    named = {flag for answer in ANSWERS.values() for flag in re.findall(r"--\w+", answer)}
    assert named
    assert named <= known
    assert not set(ANSWERS) & NAMES, "what is a field here needs no answer"


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_a_flag_of_another_trainer_is_answered(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for spelled in {f"--{name}", f"--{name.replace('_', '-')}"}:
        with pytest.raises(SystemExit) as ended:
            parse(spelled, "x")
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert f"here: {ANSWERS[name]}" in said
        assert said.count("\n") == 1


def test_the_whole_command_answers_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--resume_from_checkpoint", "latest"])
    assert "--resume goes on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"max_steps": 5}, "max_steps: no such field; it is 'training.max_steps'"),
        ({"training": {"lora_r": 5}}, "training.lora_r: no such field; it is 'lora.lora_r'"),
        ({"run_name": "x"}, "run_name: no such field; here it is 'experiment_name'"),
        ({"training": {"bf16": True}}, "training.bf16: no such field; here: --mixed_precision bf16"),
        ({"training": {"learnig_rate": 1}}, "did you mean 'learning_rate'"),
    ],
)
@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_a_file_with_such_a_name_says_where_it_belongs(
    values: dict[str, Any], words: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"config{suffix}"
    path.write_text(json.dumps(values))
    with pytest.raises(ConfigError) as caught:
        Config.from_file(path)
    assert words in str(caught.value)


def test_every_field_is_found_by_its_last_name(tmp_path: Path) -> None:
    for path in PATHS:
        name = path.rpartition(".")[2]
        if "." in path:
            with pytest.raises(ConfigError) as caught:
                Config.from_dict({name: 1})
            assert f"it is '{path}'" in str(caught.value)


@pytest.mark.parametrize(("theirs", "ours"), OPTIMIZERS.items())
def test_optimisers_have_their_names_in_transformers_too(theirs: str, ours: str) -> None:
    assert parse("--optimizer", theirs).training.optimizer == ours


@pytest.mark.parametrize("name", ["muon", "adafactor", "lion_8bit"])
def test_an_optimiser_that_is_not_here_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}.*'adamw' or 'adamw_8bit'"):
        parse("--optimizer", name)


def test_two_lengths_are_one_line() -> None:
    with pytest.raises(ConfigError, match=r"--max_steps and --num_train_epochs.*drop one"):
        parse("--max_steps", "5", "--num_train_epochs", "3")
    assert parse("--num_train_epochs", "3").training.num_train_epochs == 3

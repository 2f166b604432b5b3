"""Every field as a flag: names, values, precedence."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

from surestep.cli.flags import (
    add_config_flags,
    add_section_flags,
    config_from_args,
    fields,
    flag_values,
    override,
    section_from_args,
)
from surestep.config import Config
from surestep.config.field_list import is_required, kinds_of
from surestep.errors import ConfigError
from surestep.sweep.plan import SweepSettings


def parse(*arguments: str, preset: str = "full") -> Config:
    return config_from_args(arguments_of(*arguments, preset=preset))


def arguments_of(*arguments: str, preset: str = "full") -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_config_flags(parser, preset=preset)
    return parser.parse_args(arguments)


def get(config: Config, path: str) -> Any:
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


@pytest.mark.parametrize(
    ("in_file", "flags", "expected"),
    [
        ({}, [], 500),
        ({"warmup_ratio": 0.1}, [], 200),
        ({"warmup_ratio": 0.1}, ["--warmup_steps", "0"], 0),
        ({"warmup_steps": 30}, ["--warmup_ratio", "0.2"], 400),
        ({"warmup_ratio": 0.1}, ["--warmup_ratio", "none"], 500),
        ({"warmup_ratio": 0.1}, ["--max_steps", "1000"], 100),
        ({"warmup_steps": 30, "warmup_ratio": None}, [], 30),
        ({"warmup_steps": 30}, ["--warmup_steps", "40", "--warmup_ratio", "none"], 40),
    ],
)
def test_a_flag_that_sets_the_warmup_unsets_what_the_file_said_of_it(
    tmp_path: Path, in_file: dict[str, Any], flags: list[str], expected: int
) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"training": {"max_steps": 2000, **in_file}}), encoding="utf-8")
    config = parse("--config", str(path), *flags)
    assert config.training.num_warmup_steps == expected
    assert config.problems() == []
    config.save(path)
    assert parse("--config", str(path)).training.num_warmup_steps == expected


@pytest.mark.parametrize("steps", ["0", "500"])
def test_both_flags_of_the_warmup_are_one_line(steps: str) -> None:
    with pytest.raises(ConfigError, match=r"--warmup_steps and --warmup_ratio.*drop one"):
        parse("--warmup_steps", steps, "--warmup_ratio", "0.1")


OTHER_VALUES = {
    "experiment_name": "x",
    "data.prm800k_phase": "1",
    "data.prm800k_neutral": "missing",
    "data.eqasc_label": "retrieval",
    "data.eqasc_unsure": "votes",
    "data.bad_rows": "skip",
    "data.after_first_error": "missing",
    "data.order": "easy_first",
    "data.difficulty": "tokens",
    "data.easiest_share": "0.5",
    "phases": "curriculum",
    "data.own_format": "stepwise",
    "data.own_name": "mine",
    "data.own_split": "lines",
    "data.validation_fraction": "0.25",
    "model.attention": "dense",
    "model.mlp_activation": "relu",
    "model.text_frame": "chat",
    "model.head_layers": "mix",
    "model.head_pooling": "mean",
    "model.compile": "true",
    "training.cuda_graphs": "true",
    "model.mlp_hidden_dims": "[8, 4]",
    "lora.lora_target_modules": '["q_proj"]',
    "lora.base_precision": "fp8",
    "eval.scoring_weights": "merged",
    "training.lr_scheduler_type": "linear",
    "training.lr_scheduler_kwargs": '{"min_lr_rate": 0.1}',
    "training.optimizer": "adamw_8bit",
    "training.ema_decay": "0.99",
    "training.layer_learning_rate_decay": "0.95",
    "training.loss": "mse",
    "training.loss_weighting": "step",
    "training.device": "cpu",
    "training.mixed_precision": "bf16",
    "training.best_metric": "mse",
    "data.own_columns": "problem=question",
    "training.report_to": "wandb,mlflow",
}
"""A value that is not the default, where a number will not do."""


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path, _ in fields()])
def test_each_field_is_set_by_its_name_its_dashes_and_its_path(path: str) -> None:
    default = get(Config(), path)
    if path in OTHER_VALUES:
        text = OTHER_VALUES[path]
    elif isinstance(default, bool):
        text = str(not default).lower()
    elif isinstance(default, Path) or path.endswith(
        ("_dir", "_train", "_validation", "_test", "init_from", "revision")
    ):
        text = "some/where"
    else:
        text = "0.375" if isinstance(default, float) or path.endswith(("_ratio", "_rate")) else "13"
    name = path.rpartition(".")[2]
    flags = {f"--{name}", f"--{name.replace('_', '-')}", f"--{path}", f"--{path.replace('_', '-')}"}
    found = [get(parse(flag, text), path) for flag in sorted(flags)]
    assert all(value != default for value in found)
    assert all(value == found[0] for value in found)


@pytest.mark.parametrize(
    ("arguments", "path", "expected"),
    [
        (["--learning_rate", "5e-4"], "training.learning_rate", 5e-4),
        (["--batch_size", "8"], "training.per_device_train_batch_size", 8),
        (["--mlp_hidden_dims", "[512, 128]"], "model.mlp_hidden_dims", [512, 128]),
        (["--mlp_hidden_dims", "[]"], "model.mlp_hidden_dims", []),
        (["--use_reveal"], "data.use_reveal", True),
        (["--use_prm800k", "false"], "data.use_prm800k", False),
        (["--use_prm800k=False"], "data.use_prm800k", False),
        (["--max_train_samples", "none"], "data.max_train_samples", None),
        (["--max_steps_per_example", "null"], "data.max_steps_per_example", None),
        (["--warmup_ratio", "0.1"], "training.warmup_ratio", 0.1),
        # Names and paths stay text, also where they look like numbers.
        (["--experiment_name", "1e-4"], "experiment_name", "1e-4"),
        (["--experiment_name", "2024"], "experiment_name", "2024"),
        (["--revision", "7e12345"], "model.revision", "7e12345"),
        (["--data_dir", "2024"], "data.data_dir", Path("2024")),
        (["--own_train", "null"], "data.own_train", None),
    ],
)
def test_values_are_read_as_what_their_field_holds(arguments: list[str], path: str, expected: Any) -> None:
    assert get(parse(*arguments), path) == expected


WORDS = [
    (path, word)
    for path, info in fields()
    for kind in kinds_of(info)
    for word in (get_args(kind) if get_origin(kind) is Literal else ())
    if isinstance(word, str)
]


@pytest.mark.parametrize(("path", "word"), WORDS)
def test_every_word_of_a_field_can_be_given(path: str, word: str) -> None:
    """`none` too, which is no value in other fields."""
    assert ("training.loss", "none") in WORDS
    parser = argparse.ArgumentParser()
    add_config_flags(parser)
    changed = override(Config(), parser.parse_args([f"--{path}", word]))
    *sections, name = path.split(".")
    section: Any = changed
    for part in sections:
        section = getattr(section, part)
    assert getattr(section, name) == word


def test_a_name_that_a_field_always_has_may_be_none() -> None:
    """An experiment or a folder called `none`, as a sweep over regularisers names them."""
    names = [
        path
        for path, info in fields()
        if set(kinds_of(info)) <= {str, Path} and is_required(info) and path != "training.best_metric"
    ]  # a metric is one of a list, which says what is allowed
    assert {"experiment_name", "output_dir", "data.own_name"} <= set(names)
    parser = argparse.ArgumentParser()
    add_config_flags(parser)
    for path in names:
        for word in ("none", "null", "None"):
            assert get(override(Config(), parser.parse_args([f"--{path}", word])), path) in (word, Path(word))


def test_a_switch_is_no_number() -> None:
    """Pydantic would read true as 1: a learning rate of 1, one training problem."""
    numbers = [path for path, info in fields() if {int, float} & set(kinds_of(info)) and bool not in kinds_of(info)]
    assert {"training.learning_rate", "training.max_steps", "data.max_train_samples"} <= set(numbers)
    parser = argparse.ArgumentParser()
    add_config_flags(parser)
    for path in [*numbers, "data.prm800k_phase"]:
        for word, value in (("true", True), ("false", False)):
            with pytest.raises(ConfigError, match=f"{path} is {value}; allowed: "):
                override(Config(), parser.parse_args([f"--{path}", word]))
    with pytest.raises(ConfigError, match=r"mlp_hidden_dims is \[True\]; allowed: a list, or a whole number"):
        Config.from_dict({"model": {"mlp_hidden_dims": [True]}})


def test_every_word_of_a_command_s_own_section_can_be_given() -> None:
    parser = argparse.ArgumentParser()
    add_section_flags(parser, SweepSettings)
    assert section_from_args(parser.parse_args(["--pruning", "none"]), SweepSettings).pruning == "none"


def test_flags_override_the_file_and_the_file_the_preset(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"training": {"max_steps": 7, "seed": 1}, "lora": {"lora_r": 4}}), encoding="utf-8")
    config = parse("--config", str(path), "--seed", "2", preset="lora")
    assert (config.training.max_steps, config.training.seed, config.lora.lora_r) == (7, 2, 4)
    assert config.training.learning_rate == 1e-4
    assert config.lora.use_lora
    assert not parse("--config", str(path)).lora.use_lora
    assert parse("--preset", "lora").lora.use_lora


def test_only_flags_that_were_given_count() -> None:
    assert flag_values(arguments_of("--lora_r", "8", "--training.seed", "3")) == {"lora.lora_r": 8, "training.seed": 3}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--max_steps", "abc"], ["training.max_steps", "'abc'"]),
        (["--max_steps", "0"], ["training.max_steps", "0", "greater than 0"]),
        (["--learning_rate", "NaN"], ["training.learning_rate", "nan"]),
        (["--lr_scheduler_type", "cosin"], ["training.lr_scheduler_type", "'cosin'", "cosine", "linear", "constant"]),
        (["--prm800k_phase", "3"], ["data.prm800k_phase", "3", "1 or 2"]),
        (["--mlp_dropout", "1.0"], ["model.mlp_dropout", "1.0"]),
        (["--experiment_name", "../other"], ["experiment_name", "../other"]),
        (["--use_reveal", "perhaps"], ["data.use_reveal", "'perhaps'"]),
    ],
)
def test_a_bad_value_names_field_value_and_what_is_allowed(arguments: list[str], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(*arguments)
    for word in words:
        assert word in str(caught.value)


def test_all_bad_values_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("--max_steps", "0", "--lora_r", "-1", "--loss", "hinge")
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("flag", ["--lerning_rate", "--learning", "--training.lora_r"])
def test_a_misspelt_or_shortened_flag_is_refused(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(flag, "1")
    assert ended.value.code == 2
    assert flag in capsys.readouterr().err

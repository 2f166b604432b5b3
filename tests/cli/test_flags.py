"""Every field is a flag under each of its names, and flags override the file, which overrides the preset."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from surestep.cli.flags import add_config_flags, config_from_args, fields
from surestep.config import Config, get_default_config, get_lora_config
from surestep.errors import ConfigError

PATHS = [path for path, _ in fields()]

OTHER_VALUES: dict[str, tuple[str, Any]] = {
    "experiment_name": ("exp_001", "exp_001"),
    "output_dir": ("elsewhere", Path("elsewhere")),
    "model.backbone": ("builtin:tiny", "builtin:tiny"),
    "model.mlp_hidden_dims": ("[512, 128]", [512, 128]),
    "model.attention": ("dense", "dense"),
    "lora.lora_target_modules": ('["q_proj"]', ["q_proj"]),
    "data.prm800k_phase": ("1", 1),
    "data.prm800k_neutral": ("missing", "missing"),
    "data.eqasc_label": ("retrieval", "retrieval"),
    "data.own_format": ("stepwise", "stepwise"),
    "data.own_name": ("mine", "mine"),
    "training.lr_scheduler_type": ("linear", "linear"),
    "training.loss_weighting": ("step", "step"),
    "training.device": ("cpu", "cpu"),
    "training.mixed_precision": ("bf16", "bf16"),
    "training.best_metric": ("mse", "mse"),
}
"""Text and value for fields whose other value does not follow from their default."""


def other_value(path: str) -> tuple[str, Any]:
    """A value that is not the field's default, as typed and as held."""
    if path in OTHER_VALUES:
        return OTHER_VALUES[path]
    default = get(Config(), path)
    annotation = str(dict(fields())[path].annotation)
    if isinstance(default, bool):
        return str(not default).lower(), not default
    if isinstance(default, int):
        return str(default + 8), default + 8
    if isinstance(default, float):
        return repr(default / 2 or 0.25), default / 2 or 0.25
    if isinstance(default, str):
        choices = dict(fields())[path].annotation.__args__  # type: ignore[union-attr]
        value = next(choice for choice in choices if choice != default)
        return value, value
    if "Path" in annotation:
        return "some/where", Path("some/where")
    if "float" in annotation:
        return "0.125", 0.125
    if "int" in annotation:
        return "9", 9
    return "text", "text"


def get(config: Config, path: str) -> Any:
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


def parse(*flags: str, preset: str = "full") -> Config:
    parser = argparse.ArgumentParser()
    add_config_flags(parser, preset=preset)
    return config_from_args(parser.parse_args(flags))


def test_without_flags_it_is_the_preset() -> None:
    assert parse() == get_default_config()
    assert parse(preset="lora") == get_lora_config()
    assert parse("--preset", "lora") == get_lora_config()


def test_names_are_unique_without_their_section() -> None:
    flat = Counter(path.rpartition(".")[2] for path in PATHS)
    assert [name for name, count in flat.items() if count > 1] == []


@pytest.mark.parametrize("path", PATHS)
def test_a_field_answers_to_each_of_its_names(path: str) -> None:
    text, value = other_value(path)
    assert get(Config(), path) != value
    name = path.rpartition(".")[2]
    for flag in {f"--{name}", f"--{name.replace('_', '-')}", f"--{path}", f"--{path.replace('_', '-')}"}:
        for arguments in ([flag, text], [f"{flag}={text}"]):
            config = parse(*arguments)
            assert get(config, path) == value, arguments
            rest = {**config.to_dict()}
            assert sum(get(config, other) != get(Config(), other) for other in PATHS) == 1, rest


@pytest.mark.parametrize("flag", ["--batch_size", "--batch-size"])
def test_batch_size_is_the_batch_of_one_device(flag: str) -> None:
    assert parse(flag, "7").training.per_device_train_batch_size == 7


def test_the_documents_commands_parse() -> None:
    config = parse("--max_steps", "1000", "--experiment_name", "exp_002", "--learning_rate", "5e-4", preset="lora")
    assert (config.training.max_steps, config.experiment_name, config.training.learning_rate) == (1000, "exp_002", 5e-4)
    config = parse("--lora_r", "32", "--lora_alpha", "64", "--eval_steps", "50", "--save_steps", "20")
    assert (config.lora.lora_r, config.lora.lora_alpha) == (32, 64)
    assert (config.training.eval_steps, config.training.save_steps) == (50, 20)


@pytest.mark.parametrize("text", ["5e-5", "123", "1e5", "true", "2024-01-01", "007"])
def test_a_name_is_kept_as_typed(text: str) -> None:
    assert parse("--experiment_name", text).experiment_name == text
    assert parse("--revision", text).model.revision == text
    assert parse("--output_dir", text).output_dir == Path(text)


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("false", False), ("True", True), ("0", False), (None, True)]
)
def test_a_switch_may_stand_alone_or_name_its_value(text: str | None, value: bool) -> None:
    assert parse("--use_reveal", *([text] if text else [])).data.use_reveal is value


@pytest.mark.parametrize("text", ["none", "null", "None"])
def test_an_optional_field_can_be_unset(text: str) -> None:
    assert parse("--max_steps_per_example", text).data.max_steps_per_example is None


def test_flags_override_the_file_and_the_file_overrides_the_preset(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("training:\n  max_steps: 77\n  eval_steps: 9\nlora:\n  lora_r: 8\n")
    config = parse("--config", str(file), "--max_steps", "5", preset="lora")
    assert config.training.max_steps == 5, "the flag"
    assert (config.training.eval_steps, config.lora.lora_r) == (9, 8), "the file"
    assert (config.training.learning_rate, config.lora.use_lora) == (1e-4, True), "the preset"
    assert config.training.save_steps == 500, "the default"


def test_the_order_of_flags_and_file_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('{"training": {"max_steps": 77}}')
    flags = ["--max_steps", "5"]
    file = ["--config", str(tmp_path / "c.json")]
    assert parse(*flags, *file) == parse(*file, *flags)


def test_a_saved_configuration_is_read_back_whatever_the_preset(tmp_path: Path) -> None:
    get_lora_config().save(tmp_path / "c.json")
    assert parse("--config", str(tmp_path / "c.json")) == get_lora_config()


def test_every_bad_flag_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("--max_steps", "0", "--learning_rate", "fast", "--lr_scheduler_type", "step", "--mlp_dropout", "1.5")
    assert len(caught.value.problems) == 4
    assert "training.max_steps is 0; allowed: greater than 0" in caught.value.problems


def test_an_unknown_field_of_the_file_is_named_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('{"training": {"max_step": 5}}')
    with pytest.raises(ConfigError, match=r"c\.json: training\.max_step: no such field; did you mean 'max_steps'"):
        parse("--config", str(tmp_path / "c.json"))


def test_excluded_fields_are_no_flags() -> None:
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    add_config_flags(parser, exclude=frozenset({"lora.use_lora"}))
    assert "--use_lora" not in parser.format_help()
    assert "--lora_r" in parser.format_help()


def test_help_names_every_field() -> None:
    parser = argparse.ArgumentParser()
    add_config_flags(parser)
    text = parser.format_help()
    assert [path for path in PATHS if f"--{path}" not in text] == []

"""The generated reference: current, complete, and right about the flags."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from surestep.cli.flags import add_config_flags, fields, flag_values
from surestep.config import Config, DataConfig, ModelConfig, TrainingConfig
from surestep.config.reference import allowed_values, reference_markdown
from surestep.settings import Section

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


def test_the_page_is_what_the_classes_say_now() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference_markdown(), "run `make docs`"


def test_every_field_has_a_row_with_a_description() -> None:
    page = reference_markdown()
    for path, info in fields():
        assert info.description, path
        assert f"| `{path}` | " in page


def test_every_flag_on_the_page_sets_its_field() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_config_flags(parser)
    rows = [line for line in reference_markdown().splitlines() if line.startswith("| `")]
    assert len(rows) == sum(1 for _ in fields())
    for row in rows:
        cells = re.split(r"(?<!\\)\|", row)
        path, flags = cells[1].strip(" `"), re.findall(r"`(--[\w.]+)`", cells[5])
        assert flags
        for flag in flags:
            (given,) = flag_values(parser.parse_args([flag, "5"])).items()
            assert given in {(path, 5), (path, "5")}  # fields that hold text keep it


@pytest.mark.parametrize(
    ("section", "field", "words"),
    [
        (TrainingConfig, "max_steps", "a whole number from 1"),
        (TrainingConfig, "warmup_steps", "a whole number from 0"),
        (TrainingConfig, "learning_rate", "a number above 0, up to 1"),
        (TrainingConfig, "head_learning_rate", "a number above 0, up to 1, or unset"),
        (TrainingConfig, "device", "`auto` or `cpu` or `cuda`"),
        (TrainingConfig, "tensorboard", "`true` or `false`"),
        (DataConfig, "prm800k_neutral", "a number from 0, up to 1, or `missing`"),
        (DataConfig, "data_dir", "a path"),
        (ModelConfig, "backbone", "text, not empty"),
        (ModelConfig, "mlp_hidden_dims", "a list, each a whole number from 1, up to 65536"),
        (Config, "experiment_name", "text: letters, digits and _ . + -, a letter or digit first"),
    ],
)
def test_allowed_values_read_as_words(section: type[Section], field: str, words: str) -> None:
    assert allowed_values(section.model_fields[field]) == words

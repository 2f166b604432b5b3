"""What the configuration says of itself: names that clash, and warmup that is set twice or too long."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.config import DATASET_NAMES, Config, get_lora_config
from surestep.counted import counted
from surestep.data.datasets import LAYOUTS

CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("warmup_steps"), st.integers(0, 3000)),
        st.tuples(st.just("warmup_ratio"), st.none() | st.floats(0, 0.99)),
    ),
    max_size=6,
)


@pytest.mark.parametrize("name", [*DATASET_NAMES[:-1], "PRM800K"])
def test_own_data_cannot_have_the_name_of_a_built_in_dataset(name: str) -> None:
    config = Config()
    config.data.use_own, config.data.own_train, config.data.own_name = True, Path("mine.jsonl"), name
    (problem,) = config.problems()
    assert f"data.own_name is '{name}'" in problem
    assert "--own_name mine" in problem
    config.data.use_own = False
    assert config.problems() == []


@pytest.mark.parametrize("name", ["own", "mine", *sorted(set(LAYOUTS) - set(DATASET_NAMES))])
def test_own_data_may_have_any_other_name(name: str) -> None:
    config = Config()
    config.data.use_own, config.data.own_train, config.data.own_name = True, Path("mine.jsonl"), name
    assert config.problems() == []


def test_the_later_of_two_snippets_on_warmup_is_in_force() -> None:
    config = get_lora_config()
    config.training.warmup_ratio = 0.1  # "Longer warmup"
    assert config.training.num_warmup_steps == 1000
    config.training.warmup_steps = 0  # "No warmup"
    assert config.training.num_warmup_steps == 0
    config.training.warmup_ratio = 0.1
    assert config.training.num_warmup_steps == 1000


@given(CHANGES)
def test_the_last_assignment_decides_the_warmup(changes: list[tuple[str, float | None]]) -> None:
    config = Config()
    config.training.max_steps = 1000
    expected = 500
    for name, value in changes:
        setattr(config.training, name, value)
        if name == "warmup_steps":
            expected = int(value or 0)
        elif value is not None:
            expected = round(value * 1000)
        elif config.training.warmup_ratio is None:
            expected = config.training.warmup_steps
        assert config.training.num_warmup_steps == expected
        assert config.problems() == []
    assert Config.from_dict(config.to_dict()).training.num_warmup_steps == expected


def test_a_file_that_sets_both_contradicts_itself(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"training": {"warmup_steps": 30, "warmup_ratio": 0.1}}), encoding="utf-8")
    (problem,) = Config.from_file(path).problems()
    assert "--warmup_steps 30 or --warmup_ratio 0.1" in problem


def test_a_file_over_a_preset_unsets_what_the_preset_said(tmp_path: Path) -> None:
    base = Config()
    base.training.warmup_ratio = 0.1
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"training": {"warmup_steps": 7}}), encoding="utf-8")
    assert Config.from_file(path, base=base).training.num_warmup_steps == 7


@pytest.mark.parametrize(("steps", "warmup"), [*itertools.product([1, 2, 499, 500, 501, 10_000], [0, 1, 500, 501])])
def test_a_warmup_that_is_not_shorter_than_the_run_is_said(steps: int, warmup: int) -> None:
    config = Config()
    config.training.max_steps, config.training.warmup_steps = steps, warmup
    said = config.warnings()
    assert len(said) == int(warmup >= steps)
    if said:
        assert f"warmup takes {counted(warmup, 'step')} and the run has {steps:,}" in said[0]


def test_a_share_that_rounds_to_the_whole_run_is_said_too() -> None:
    config = Config()
    config.training.max_steps, config.training.warmup_ratio = 2, 0.9
    assert "warmup takes 2 steps" in config.warnings()[0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lora.base_precision", "fp8"),
        ("lora.base_precision", "nf4"),
        ("training.optimizer", "adamw_8bit"),
        ("training.mixed_precision", "fp16"),
        ("model.compile", True),
        ("training.cuda_graphs", True),
    ],
)
def test_what_weights_that_are_shared_out_do_not_go_with_is_refused_by_name(field: str, value: object) -> None:
    config = get_lora_config()
    section, name = field.split(".")
    setattr(getattr(config, section), name, value)
    assert not [problem for problem in config.problems() if "fsdp" in problem]
    config.training.fsdp = True
    (found,) = [problem for problem in config.problems() if "fsdp" in problem]
    assert field in found
    assert "--fsdp false" in found


@pytest.mark.parametrize(
    ("field", "value", "otherwise"),
    [
        ("lora.base_precision", "fp8", "--base_precision same"),
        ("model.compile", True, "--compile auto"),
        ("training.cuda_graphs", True, "--cuda_graphs auto"),
    ],
)
def test_what_needs_the_fast_path_is_refused_without_it(field: str, value: object, otherwise: str) -> None:
    config = get_lora_config()
    section, name = field.split(".")
    setattr(getattr(config, section), name, value)
    assert config.problems() == []
    config.model.fast_path = False
    (found,) = config.problems()
    assert field in found
    assert otherwise in found
    assert "--fast_path true" in found

"""The space of a sweep, from flags, presets and files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.config import get_default_config, get_lora_config
from surestep.errors import ConfigError
from surestep.sweep.presets import PRESETS
from surestep.sweep.space import configuration_of, read_space
from surestep.sweep.values import Choices, Range

LORA = get_lora_config()


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_spaces_that_the_configuration_allows(preset: str) -> None:
    space = read_space([preset], LORA)
    for point in space.points():
        values = space.complete(point)
        config = configuration_of(LORA, values)
        assert config.lora.lora_alpha == 2 * config.lora.lora_r


def test_the_presets_are_those_of_the_best_practices() -> None:
    page = (Path(__file__).parents[2] / "docs" / "best-practices.md").read_text(encoding="utf-8")
    loops = [f"for lr in {' '.join(PRESETS['lora_learning_rates']['training.learning_rate'].split(','))}; do"]
    loops.append(f"for r in {' '.join(PRESETS['lora_ranks']['lora.lora_r'].split(','))}; do")
    assert all(loop in page for loop in loops)
    guide = page.split("**Full Fine-Tuning**:")[1].split("**LoRA**:")[0]
    assert all(f"`{rate}`" in guide for rate in PRESETS["full_learning_rates"]["training.learning_rate"].split(","))


def test_flags_files_and_presets_give_the_same_and_later_ones_win(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(
        "training:\n  learning_rate: {low: 1e-5, high: 1e-3, log: true}\nlora.lora_r: [8, 16]\nweight_decay: 0..0.1\n"
    )
    by_file = read_space(["lora_ranks", str(file)], LORA)
    by_flags = read_space(
        [
            "lr_scheduler=cosine",
            "lora_r=8,16",
            "lora_alpha=2*lora_r",
            "learning-rate=log:1e-5..1e-3",
            "weight_decay=0..0.1",
        ],
        LORA,
    )
    assert by_flags.values.pop("training.lr_scheduler_type") == Choices(("cosine",))  # type: ignore[attr-defined]
    assert by_file == by_flags
    assert by_file.values["training.weight_decay"] == Range(0, 0.1)
    as_json = tmp_path / "space.json"
    as_json.write_text(json.dumps(by_file.to_json()))
    assert read_space([str(as_json)], LORA) == by_file


@given(st.integers(1, 64), st.integers(1, 64))
def test_a_range_of_a_field_of_whole_numbers_takes_whole_numbers(low: int, width: int) -> None:
    assert read_space([f"lora_r={low}..{low + width}"], LORA).values["lora.lora_r"] == Range(
        low, low + width, whole=True
    )


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (["learning_rat=1e-4"], "did you mean 'training.learning_rate'"),
        (["bf16=true"], "here: --mixed_precision bf16"),
        (["seed=1,2"], "--seeds repeats each trial"),
        (["experiment_name=a,b"], "it names the sweep"),
        (["lora_rank"], "did you mean lora_ranks?"),
        (["none.yaml"], "none.yaml: the space cannot be read"),
        (["learning_rate=1e-4,2"], "training.learning_rate is 2; allowed"),
        (["learning_rate=0.1..3"], "training.learning_rate is 3; allowed"),
        (["lora_r=8.5..16"], "field of whole numbers"),
        (["optimizer=1..3"], "takes no numbers"),
        (["lora_alpha=2*lora_r"], "lora.lora_r is not tried itself"),
        (["lora_r=8,16", "lora_alpha=0.01*lora_r"], "lora.lora_alpha is 0.08"),
        ([], "a sweep needs a space"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(space: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        read_space(space, LORA)


def test_a_list_of_values_may_be_longer_than_the_name_of_a_file() -> None:
    rates = [f"{number}e-6" for number in range(1, 100)]
    space = read_space([f"learning_rate={','.join(rates)}"], LORA)
    assert space.free["training.learning_rate"] == Choices(tuple(float(rate) for rate in rates))


def test_lora_fields_are_refused_without_lora() -> None:
    with pytest.raises(ConfigError, match="changes nothing without LoRA; add --preset lora"):
        read_space(["lora_ranks"], get_default_config())
    assert read_space(["use_lora=true,false", "lora_r=8,16"], get_default_config()).size == 4


def test_all_mistakes_are_said_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        read_space(["learning_rate=5..1", "lora_r=", "nothing_known=3"], LORA)
    assert len(raised.value.problems) == 3


def test_a_rank_without_its_alpha_is_warned_of() -> None:
    assert "alpha / r" in read_space(["lora_r=8,16"], LORA).warnings(LORA)[0]
    assert read_space(["lora_ranks"], LORA).warnings(LORA) == []


def test_an_edge_beyond_which_the_configuration_allows_nothing_is_none() -> None:
    space = read_space(
        ["weight_decay=0..0.1", "lora_dropout=0,0.1", "learning_rate=log:1e-5..1e-3", "lora_r=1..8"], LORA
    )
    low = {"training.weight_decay": 0.0, "lora.lora_dropout": 0, "training.learning_rate": 1e-5, "lora.lora_r": 1}
    assert space.edges(LORA, low) == {"training.learning_rate": "low"}
    high = {"training.weight_decay": 0.1, "lora.lora_dropout": 0.1, "training.learning_rate": 1e-4, "lora.lora_r": 8}
    assert space.edges(LORA, high) == dict.fromkeys(
        ("training.weight_decay", "lora.lora_dropout", "lora.lora_r"), "high"
    )

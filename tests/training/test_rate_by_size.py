"""The learning rate by size: the rule's shape, and when a run says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs import Watcher, read_lines
from surestep.config import Config, LoraConfig, TrainingConfig
from surestep.config.training import FULL_LEARNING_RATE, LORA_LEARNING_RATE
from surestep.training.optimizer.rate_by_size import rate_for, rate_line
from surestep.training.run import train


@given(st.integers(1, 10**12), st.integers(1, 10**12), st.booleans())
def test_more_weights_never_have_a_higher_rate(one: int, two: int, use_lora: bool) -> None:
    small, large = sorted((one, two))
    assert rate_for(small, use_lora=use_lora) >= rate_for(large, use_lora=use_lora) > 0


@pytest.mark.parametrize("use_lora", [False, True])
def test_the_preset_is_said_to_be_for_another_size_only_where_it_is(use_lora: bool) -> None:
    preset = LORA_LEARNING_RATE if use_lora else FULL_LEARNING_RATE
    lora = LoraConfig(use_lora=use_lora)
    line = rate_line(TrainingConfig(learning_rate=preset), lora, 106_000_000)
    assert line is not None
    assert f"{preset:g} is the preset's" in line
    assert f"{rate_for(106_000_000, use_lora=use_lora):g}" in line
    assert rate_line(TrainingConfig(learning_rate=preset), lora, 3_600_000_000) is None
    assert rate_line(TrainingConfig(learning_rate=3e-4), lora, 106_000_000) is None, "chosen by the user"
    assert rate_line(TrainingConfig(learning_rate=preset), lora, 0) is None


@pytest.mark.slow
def test_a_run_at_the_presets_rate_says_so(run_config: Callable[..., Config]) -> None:
    config = run_config()
    config.training.learning_rate = LORA_LEARNING_RATE if config.lora.use_lora else FULL_LEARNING_RATE
    train(config, Watcher())
    notes = [line["text"] for line in read_lines(config.experiment_dir / "metrics.jsonl") if line["kind"] == "note"]
    assert sum("is the preset's, for billions of weights" in note for note in notes) == 1

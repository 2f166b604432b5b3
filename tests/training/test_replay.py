"""When passes are recorded, decided on any machine; that replays give the same numbers is shown in tests/gpu."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from runs import Watcher, read_lines
from surestep.config import Config
from surestep.training.passes import recorded
from surestep.training.passes.recorded import _SHORT_FULL_PASS, _SHORT_PASS, reason_not_to_record, records_passes
from surestep.training.processes import make_accelerator
from surestep.training.run import train


def as_on_a_gpu(built: Any) -> Any:
    """The choices a GPU would have led to; nothing is run."""
    built.model.route, built.model.is_fused = "triton", True
    return built


def test_short_passes_are_recorded_and_long_ones_are_not(
    build_small: Callable[..., Any], small_config: Callable[..., Config]
) -> None:
    config, built = small_config("llama", lora=True), as_on_a_gpu(build_small("llama", lora=True))
    accelerator = make_accelerator(built.hardware)
    assert _SHORT_PASS > 4 * 3.63e9 * 5120, "the documented default of a 4B model is a short pass"
    limit = int(_SHORT_PASS / (4 * built.weights_in_products))
    assert records_passes(config.training, config.lora, built, accelerator, 5120)
    assert records_passes(config.training, config.lora, built, accelerator, limit - 1)
    assert not records_passes(config.training, config.lora, built, accelerator, limit + 1)
    config.lora.base_precision = "fp8"
    assert records_passes(config.training, config.lora, built, accelerator, 2 * limit - 2), (
        "in 8 bits a pass takes half the time"
    )
    config.training.cuda_graphs = True
    assert records_passes(config.training, config.lora, built, accelerator, 100 * limit)
    config.training.cuda_graphs = False
    assert not records_passes(config.training, config.lora, built, accelerator, 5120)


def test_full_fine_tuning_is_recorded_by_the_time_of_its_longer_passes(
    build_small: Callable[..., Any], small_config: Callable[..., Config]
) -> None:
    config, built = small_config("llama"), as_on_a_gpu(build_small("llama"))
    assert not config.lora.use_lora
    accelerator = make_accelerator(built.hardware)
    limit = int(_SHORT_FULL_PASS / (6 * built.weights_in_products))
    for wanted, budget, expected in (
        ("auto", limit - 1, True),
        ("auto", limit + 1, False),
        (True, limit + 1, True),
        (False, 5120, False),
    ):
        config.training.cuda_graphs = wanted
        assert records_passes(config.training, config.lora, built, accelerator, budget) is expected


@pytest.mark.parametrize(
    ("section", "field", "value", "words"),
    [
        ("training", "gradient_checkpointing", True, "recomputed"),
        ("model", "route", "varlen", "varlen"),
        ("model", "is_fused", False, "not fused"),
        ("rope", "rope_type", "dynamic", "dynamic"),
        ("sharded", "", True, "shared out"),
    ],
)
def test_what_cannot_be_recorded_has_a_reason(
    build_small: Callable[..., Any],
    small_config: Callable[..., Config],
    section: str,
    field: str,
    value: Any,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, built = small_config("llama", lora=True), as_on_a_gpu(build_small("llama", lora=True))
    config.training.cuda_graphs = True
    accelerator = make_accelerator(built.hardware)
    assert reason_not_to_record(config.training, config.lora, built, accelerator) is None
    if section == "model":
        setattr(built.model, field, value)
    elif section == "sharded":
        monkeypatch.setattr(recorded, "is_sharded", lambda model: value)
    elif section == "rope":
        built.model.transformer.config.rope_parameters = {"rope_type": value}
    else:
        setattr(getattr(config, section), field, value)
    reason = reason_not_to_record(config.training, config.lora, built, accelerator)
    assert reason is not None
    assert words in reason
    assert not records_passes(config.training, config.lora, built, accelerator, 5120)


@pytest.mark.slow
def test_asked_for_and_not_to_be_had_is_said(run_config: Callable[..., Config]) -> None:
    config = run_config()
    config.training.cuda_graphs = True
    train(config, Watcher())
    notes = [line["text"] for line in read_lines(config.experiment_dir / "metrics.jsonl") if line["kind"] == "note"]
    assert any("not recorded, though --cuda_graphs is true" in note for note in notes)

"""A configuration becomes a model whose execution of the mask is the fastest that is right, and says why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from scores import scores_of
from strategies import random_tree
from surestep.config import Config, get_lora_config
from surestep.errors import BackboneError, ConfigError, DeviceError
from surestep.model.attention import interface as attention
from surestep.scoring import build_model as build_module
from surestep.scoring.build_model import base_dtype, build_model
from surestep.scoring.hardware import Hardware, choose_hardware, choose_route, for_scoring_here, memory_used_gb
from surestep.scoring.recorded_passes import reason_model_is_not_recorded
from surestep.scoring.token_budget import scoring_token_budget

CPU = choose_hardware("cpu", "no")
Make = Callable[..., Config]

GPU = Hardware(torch.device("cuda"), "bf16", ())
GPU_FLOAT32 = Hardware(torch.device("cuda"), "no", ())


def test_an_untrained_model_predicts_the_initial_confidence(small_config: Make) -> None:
    config = small_config("llama")
    built = build_model(config, CPU, initial_confidence=0.8)
    scores = [score for tree in scores_of(built.scorer(config), [random_tree(0), random_tree(1)]) for score in tree]
    assert scores == pytest.approx([0.8] * len(scores), abs=0.1)


def test_the_same_seed_builds_the_same_model(small_config: Make) -> None:
    config = small_config("llama", lora=True)
    first, second = (build_model(config, CPU).model.state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    config.training.seed = 7
    other = build_model(config, CPU).model.state_dict()
    assert not torch.equal(other["head.output.weight"], first["head.output.weight"])


def test_every_choice_has_a_reason(small_config: Make) -> None:
    built = build_model(small_config("llama"), choose_hardware("auto", "auto"))
    text = "\n".join(built.reasons)
    assert all(word in text for word in ("device:", "mixed precision:", "attention:"))


@pytest.mark.parametrize(
    ("family", "cause"), [("bloom", "fails on them"), ("mamba", "fails on them"), ("gemma2", "soft cap")]
)
def test_a_backbone_that_cannot_run_packed_trees_falls_back_and_says_so(
    family: str, cause: str, small_config: Make
) -> None:
    built = build_model(small_config(family), CPU)
    assert built.model.route == "paths"
    assert "one path per row" in built.reasons[-1]
    assert cause in built.reasons[-1]
    assert "\n" not in built.reasons[-1]


def test_an_encoder_is_refused(small_config: Make) -> None:
    with pytest.raises(BackboneError, match="bidirectional encoder"):
        build_model(small_config("bert"), CPU)


def test_one_path_per_row_can_be_asked_for(small_config: Make) -> None:
    config = small_config("llama")
    config.model.attention = "paths"
    built = build_model(config, CPU)
    assert built.model.route == "paths"
    assert not any("cannot run" in reason for reason in built.reasons)


def test_an_encoder_is_refused_one_path_per_row_too(small_config: Make) -> None:
    config = small_config("bert")
    config.model.attention = "paths"
    with pytest.raises(BackboneError, match="bidirectional encoder"):
        build_model(config, CPU)


def test_a_backbone_that_attends_in_chunks_is_known_by_name(
    small_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = build_module.load_backbone

    def chunked(*args: Any, **options: Any) -> Any:
        backbone = load(*args, **options)
        backbone.module.config.attention_chunk_size = 8192
        return backbone

    monkeypatch.setattr(build_module, "load_backbone", chunked)
    built = build_model(small_config("llama"), CPU)
    assert built.model.route == "paths"
    assert "chunks" in built.reasons[-1]


@pytest.mark.parametrize("failure", ["raises", "is wrong"])
def test_a_fast_execution_that_fails_gives_way_to_the_dense_one(
    failure: str, small_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kernel(query: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        if failure == "raises":
            raise RuntimeError("no kernel for this head size\nand more")
        return torch.zeros_like(query)

    monkeypatch.setattr(attention, "compiled_flex", lambda: kernel)
    monkeypatch.setattr(build_module, "choose_route", lambda *_, **__: ("flex", "attention: flex (as set)"))
    config = small_config("llama")
    built = build_model(config, CPU)
    assert built.model.route == "dense"
    assert "flex does not work" in built.reasons[-1]
    monkeypatch.undo()
    expected = build_model(config, CPU)
    assert expected.model.route == "dense"
    assert scores_of(built.scorer(config), [random_tree(0)]) == scores_of(expected.scorer(config), [random_tree(0)])


def test_the_kernel_gives_way_to_the_next_slower_execution_first(
    small_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> torch.Tensor:
        raise RuntimeError("out of shared memory")

    def no_compiler() -> Any:
        """To compile what varlen leaves to flex takes most of a minute, and this machine has no varlen anyway."""
        raise RuntimeError("no compiler")

    monkeypatch.setattr(attention, "kernel_attention", broken)
    monkeypatch.setattr(attention, "compiled_flex", no_compiler)
    monkeypatch.setattr(build_module, "choose_route", lambda *_, **__: ("triton", "attention: triton (as set)"))
    built = build_model(small_config("llama"), CPU)
    told = [reason for reason in built.reasons if "does not work" in reason]
    assert "attention: varlen, for triton" in told[0]
    assert "out of shared memory" in told[0]
    assert "attention: dense, for varlen" in told[1]
    assert built.model.route == "dense", "this machine has no varlen either"


def test_gradient_checkpointing_is_switched_on(small_config: Make) -> None:
    config = small_config("llama")
    config.training.gradient_checkpointing = True
    model = build_model(config, CPU).model
    assert all(layer.gradient_checkpointing for layer in model.transformer.layers)


def test_frozen_weights_take_the_compute_dtype_and_trained_ones_stay_float32(small_config: Make) -> None:
    half = choose_hardware("cpu", "bf16")
    assert base_dtype(get_lora_config().lora, half) == torch.bfloat16
    assert base_dtype(Config().lora, half) == torch.float32
    model = build_model(small_config("llama", lora=True), half).model
    for name, parameter in model.named_parameters():
        assert parameter.dtype == (torch.float32 if parameter.requires_grad else torch.bfloat16), name


def test_a_missing_backbone_is_one_line(tmp_path: Path) -> None:
    config = Config()
    config.model.backbone = str(tmp_path / "nonsuch")
    with pytest.raises(BackboneError, match="nonsuch") as caught:
        build_model(config, CPU)
    assert "\n" not in str(caught.value)


def test_a_gpu_that_is_not_there_is_one_line() -> None:
    with pytest.raises(DeviceError, match="--device cpu"):
        choose_hardware("cuda", "auto")


def test_auto_is_the_cpu_in_float32_where_there_is_no_gpu() -> None:
    found = choose_hardware("auto", "auto")
    assert (found.device.type, found.compute_dtype) == ("cpu", torch.float32)
    assert any("no GPU found" in reason for reason in found.reasons)


def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(DeviceError, match="--mixed_precision"):
        choose_hardware("cpu", "fp16")


@pytest.mark.parametrize(
    ("asked", "hardware", "route"),
    [
        ("auto", CPU, "dense"),
        ("auto", GPU, "varlen"),
        ("auto", GPU_FLOAT32, "flex"),
        ("dense", GPU, "dense"),
        ("paths", CPU, "paths"),
        ("flex", GPU_FLOAT32, "flex"),
    ],
)
def test_the_execution_follows_the_hardware_and_the_setting(asked: Any, hardware: Hardware, route: str) -> None:
    found, reason = choose_route(asked, hardware)
    assert found == route
    assert reason.startswith(f"attention: {route}")


def test_the_kernel_is_taken_where_it_suits_the_backbone_and_half_precision() -> None:
    assert choose_route("auto", GPU, has_kernel=True)[0] == "triton"
    assert choose_route("auto", GPU_FLOAT32, has_kernel=True)[0] == "flex"
    assert choose_route("auto", CPU, has_kernel=True)[0] == "dense"
    assert choose_route("triton", GPU, has_kernel=True)[0] == "triton"


@pytest.mark.parametrize(
    ("asked", "hardware"),
    [
        ("varlen", CPU),
        ("flex", CPU),
        ("varlen", GPU_FLOAT32),
        ("triton", CPU),
        ("triton", GPU_FLOAT32),
        ("triton", GPU),
    ],
)
def test_an_execution_that_the_hardware_lacks_is_refused(asked: Any, hardware: Hardware) -> None:
    with pytest.raises(DeviceError, match=asked):
        choose_route(asked, hardware)


def test_an_explicit_scoring_budget_overrides(build_small: Callable[..., Any], monkeypatch) -> None:
    config, built = Config(), build_small("llama")
    assert built.scorer(config).token_budget == scoring_token_budget(built.model, CPU) > 0
    config.eval.eval_token_budget = 123
    assert built.scorer(config).token_budget == 123


def test_memory_is_in_gigabytes() -> None:
    assert 0.01 < memory_used_gb(torch.device("cpu")) < 1000


@pytest.mark.parametrize("fast", [True, False])
def test_one_switch_turns_the_whole_fast_path_off(
    fast: bool, small_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether layers may be fused, are compiled, and passes recorded; as on a GPU, on which nothing is run here."""
    may_fuse: list[bool] = []
    monkeypatch.setattr(
        build_module, "make_fast", lambda model, hardware, reasons: may_fuse.append(hardware.fuses_layers)
    )
    monkeypatch.setattr(build_module, "compile_layers", lambda transformer: True)
    config = small_config("llama", lora=True)
    config.model.fast_path = fast
    built = build_model(config, CPU)
    assert may_fuse == [fast]
    built.hardware = GPU
    assert (built.compile_if_worth("auto", float("inf")) is not None) is built.is_compiled is fast
    built.model.route, built.model.is_fused = "triton", may_fuse[0]
    assert (reason_model_is_not_recorded(built.model) is None) is fast
    assert any(reason.startswith("fast path: off (as set)") for reason in built.reasons) is not fast
    assert for_scoring_here(config).model.fast_path, "what scores a checkpoint chooses anew"


def test_flags_that_contradict_the_switch_are_refused_over_a_checkpoint_too(small_config: Make) -> None:
    config = small_config("llama")
    config.model.fast_path, config.model.compile = False, True
    with pytest.raises(ConfigError, match=r"model\.compile is true, but model\.fast_path is false"):
        build_model(config, CPU)

"""What does not fit in memory is refused by arithmetic, or found when memory ran out; both with figures."""

from __future__ import annotations

import pytest
import torch

from surestep.bench import memory
from surestep.bench.backbone_shapes import build_shape
from surestep.config import Config, get_default_config, get_lora_config
from surestep.errors import DoesNotFitError
from surestep.scoring.hardware import Hardware, choose_hardware
from surestep.training.optimizer.parameter_groups import build_optimizer, moment_bytes

CPU = choose_hardware("cpu", "no")


@pytest.mark.parametrize("config", [get_default_config(), get_lora_config()], ids=["full", "lora"])
@pytest.mark.parametrize("training", [True, False], ids=["trained", "scored"])
def test_the_least_is_just_below_what_a_built_model_takes(config: Config, training: bool) -> None:
    built = build_shape(config, CPU, "small")
    taken = sum(parameter.nbytes for parameter in built.model.parameters())
    if training:
        trained = [parameter for parameter in built.model.parameters() if parameter.requires_grad]
        for parameter in trained:
            parameter.grad = torch.zeros_like(parameter)
        optimizer = build_optimizer(built.model, config.training)
        optimizer.step()
        moments = [value for state in optimizer.state.values() for value in state.values() if value.ndim]
        taken += sum(tensor.nbytes for tensor in [*moments, *(parameter.grad for parameter in trained)])
    least = memory.least_bytes(config, CPU, "small", training=training)
    head_and_adapters = 0.35 if config.lora.use_lora and training else 0.2
    assert (1 - head_and_adapters) * taken < least <= taken


def test_moments_of_8_bits_need_less() -> None:
    config = get_default_config()
    config.training.optimizer = "adamw_8bit"
    built = build_shape(config, CPU, "small")
    found = memory.least_bytes(config, CPU, "small", training=True)
    backbone = sum(parameter.nbytes for parameter in built.model.transformer.parameters())
    moments = moment_bytes(built.model, config.training)
    assert 0.9 * (2 * backbone + moments) < found <= 2 * backbone + moments
    assert found < memory.least_bytes(get_default_config(), CPU, "small", training=True)


@pytest.mark.parametrize(
    ("shape", "preset", "gigabytes", "fits"),
    [
        ("30b-moe", get_default_config, 150, False),
        ("30b-moe", get_lora_config, 80, True),
        ("30b-moe", get_lora_config, 48, False),
        ("8b", get_default_config, 80, False),
        ("8b", get_default_config, 150, True),
        ("4b", get_default_config, 80, True),
    ],
)
def test_a_gpu_holds_what_arithmetic_allows(
    shape: str, preset: object, gigabytes: float, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(preset)
    monkeypatch.setattr(memory, "device_bytes", lambda _: int(gigabytes * 1e9))
    gpu = Hardware(torch.device("cuda"), "bf16", ())
    if fits:
        memory.refuse_what_cannot_fit(preset(), gpu, shape, training=True)
        return
    with pytest.raises(DoesNotFitError, match=f"--shape {shape} does not fit: .*the GPU has {gigabytes} GB") as caught:
        memory.refuse_what_cannot_fit(preset(), gpu, shape, training=True)
    finding = memory.finding_of(caught.value, shape, gpu.device)
    assert finding["needs_gb"] > finding["has_gb"] == gigabytes
    assert f"at least {finding['needs_gb']:,.0f} GB" in finding["why"]
    assert ("--preset lora" in finding["why"]) == (preset is get_default_config), "no advice to do what is done"


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory."), MemoryError(), RuntimeError("CUDA error: out of memory\nadvice")],
)
def test_memory_that_ends_is_a_finding_and_other_errors_stay(error: Exception) -> None:
    def breaking() -> int:
        raise error

    def bug() -> int:
        raise RuntimeError("a shape is wrong")

    found = memory.unless_memory_ends(breaking, "a row", CPU.device)
    assert isinstance(found, dict)
    assert (found["name"], found["why"], found["needs_gb"]) == ("a row", "out of memory", None)
    assert memory.unless_memory_ends(lambda: 3, "a row", CPU.device) == 3
    with pytest.raises(RuntimeError, match="shape"):
        memory.unless_memory_ends(bug, "a row", CPU.device)

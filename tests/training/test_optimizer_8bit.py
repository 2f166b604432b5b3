"""8-bit moments: which parameters get them, how near they stay to AdamW's, and a resume to the bit.

On a CPU these run bitsandbytes' own CPU kernels; the same on a GPU is in tests/gpu.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from runs import Watcher, assert_same_bits, logged
from surestep.config import Config, TrainingConfig, get_default_config
from surestep.errors import CheckpointError
from surestep.model.precision.bitsandbytes_available import bitsandbytes_problem
from surestep.scoring.build_model import build_model
from surestep.scoring.hardware import choose_hardware
from surestep.training.optimizer.parameter_groups import build_optimizer, moment_bytes, parameter_names
from surestep.training.run import train
from surestep.training.run_state import RunState, load_state, save_state

pytestmark = pytest.mark.skipif(bitsandbytes_problem() is not None, reason=str(bitsandbytes_problem()))

CONFIG = TrainingConfig(learning_rate=1e-3, head_learning_rate=5e-3, weight_decay=0.2, optimizer="adamw_8bit")


def tiny_model() -> Any:
    """The embedded default: its matrices are large enough for 8 bits."""
    config = get_default_config()
    config.model.backbone = "builtin:tiny"
    return build_model(config, choose_hardware("cpu", "no")).model


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model()


def step(model: Any, optimizer: torch.optim.Optimizer, seed: int) -> None:
    """One update with random gradients, all but one parameter's."""
    random = torch.Generator().manual_seed(seed)
    for parameter in [p for p in model.parameters() if p.requires_grad][1:]:
        parameter.grad = torch.randn(parameter.shape, generator=random)
    optimizer.step()
    model.zero_grad(set_to_none=True)


def test_large_matrices_of_the_backbone_alone_have_8_bits(model: Any) -> None:
    optimizer = build_optimizer(model, CONFIG)
    names = parameter_names(model)
    step(model, optimizer, 0)
    small = {names[id(p)] for p, state in optimizer.state.items() if state["state1"].dtype == torch.uint8}
    assert small == {
        name
        for name, p in model.named_parameters()
        if name.startswith("backbone.layers") and p.numel() >= 4096 and p.ndim == 2
    }
    assert any("head." in name and p.numel() >= 4096 for name, p in model.named_parameters()), "or it shows nothing"


def test_groups_keep_their_rates_and_decays(model: Any) -> None:
    names, placed = parameter_names(model), {}
    for group in build_optimizer(model, CONFIG).param_groups:
        placed |= {names[id(p)]: (group["peak"], group["lr"], group["weight_decay"]) for p in group["params"]}
    plain = {}
    for group in build_optimizer(model, CONFIG.model_copy(update={"optimizer": "adamw"})).param_groups:
        plain |= {names[id(p)]: (group["peak"], group["lr"], group["weight_decay"]) for p in group["params"]}
    assert placed == plain


def test_its_steps_stay_near_those_of_adamw() -> None:
    """8 bits of each moment: the sum of ten steps differs by a few percent of itself."""
    moved = []
    for name in ("adamw", "adamw_8bit"):
        model = tiny_model()
        before = torch.cat([p.detach().flatten() for p in model.parameters()])
        optimizer = build_optimizer(model, CONFIG.model_copy(update={"optimizer": name}))
        for number in range(10):
            step(model, optimizer, number)
        moved.append(torch.cat([p.detach().flatten() for p in model.parameters()]) - before)
    assert 0 < (moved[0] - moved[1]).norm() / moved[0].norm() < 0.1


def test_the_bytes_are_those_that_it_takes(model: Any) -> None:
    optimizer = build_optimizer(model, CONFIG)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    model.zero_grad(set_to_none=True)
    taken = sum(
        value.numel() * value.element_size()
        for state in optimizer.state.values()
        for key, value in state.items()
        if key in {"state1", "state2", "absmax1", "absmax2"}
    )
    assert moment_bytes(model, CONFIG) == taken
    assert taken < moment_bytes(model, CONFIG.model_copy(update={"optimizer": "adamw"})) * 0.55


def test_what_is_saved_is_read_back_to_the_bit_and_goes_on_the_same(tmp_path: Path) -> None:
    first, second = tiny_model(), tiny_model()
    optimizer = build_optimizer(first, CONFIG)
    for number in range(3):
        step(first, optimizer, number)
    save_state(tmp_path, RunState(step=3), optimizer, parameter_names(first))
    second.load_state_dict(first.state_dict())
    other = build_optimizer(second, CONFIG)
    assert load_state(tmp_path, other, parameter_names(second)).step == 3
    for number in range(3, 6):
        step(first, optimizer, number)
        step(second, other, number)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("damage", ["missing", "shape", "codes", "unexpected"])
def test_moments_that_do_not_fit_are_refused(model: Any, tmp_path: Path, damage: str) -> None:
    optimizer = build_optimizer(model, CONFIG)
    step(model, optimizer, 0)
    save_state(tmp_path, RunState(), optimizer, parameter_names(model))
    path = tmp_path / "optimizer.safetensors"
    tensors = load_file(path)
    name = next(key for key in tensors if key.endswith("/absmax1"))
    if damage == "missing":
        del tensors[name]
    elif damage == "shape":
        tensors[name] = torch.zeros(3)
    elif damage == "codes":
        tensors["qmap1"] = tensors["qmap1"] * 2
    else:
        tensors["nobody/state1"] = torch.zeros(2)
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=r"optimizer\.safetensors"):
        load_state(tmp_path, build_optimizer(model, CONFIG), parameter_names(model))


@pytest.mark.parametrize(("saved", "now"), [("adamw", "adamw_8bit"), ("adamw_8bit", "adamw")])
def test_the_moments_of_the_other_optimizer_are_refused_by_name(
    model: Any, tmp_path: Path, saved: str, now: str
) -> None:
    optimizer = build_optimizer(model, CONFIG.model_copy(update={"optimizer": saved}))
    step(model, optimizer, 0)
    save_state(tmp_path, RunState(), optimizer, parameter_names(model))
    other = build_optimizer(model, CONFIG.model_copy(update={"optimizer": now}))
    with pytest.raises(CheckpointError, match=f"--optimizer {saved}"):
        load_state(tmp_path, other, parameter_names(model))


class CrashError(Exception):
    """Stands for a power cut."""


def crash() -> None:
    raise CrashError


@pytest.mark.parametrize("lora", [True, False])
def test_a_run_resumed_after_a_crash_is_the_uninterrupted_one(
    run_config: Callable[..., Config], tmp_path: Path, lora: bool
) -> None:
    runs = []
    for name, at in (("whole", {}), ("cut", {5: crash})):
        config = run_config(lora=lora, experiment_name=name, optimizer="adamw_8bit", max_steps=6, save_steps=3)
        config.model.backbone = "builtin:tiny"
        config.lora.lora_r = 32  # 32 x 128 numbers: in 8 bits
        watcher = Watcher(at)
        if at:
            with pytest.raises(CrashError):
                train(config, watcher)
            watcher = Watcher()
            train(config, watcher, resume=True)
            assert watcher.of("started") == [(3, 6)]
        else:
            train(config, watcher)
        assert any("moments in 8 bits" in line for line in watcher.of("say"))
        runs.append(config)
    assert logged(runs[0].experiment_dir) == logged(runs[1].experiment_dir)
    last = [config.experiment_dir / "checkpoint_step_6" for config in runs]
    assert_same_bits(*last)
    saved = load_file(last[0] / "training_state" / "optimizer.safetensors")
    assert any(value.dtype == torch.uint8 for value in saved.values())

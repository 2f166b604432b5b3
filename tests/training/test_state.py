"""What resuming reads back, the optimiser's groups, and the randomness of a step."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from surestep.config import TrainingConfig
from surestep.errors import CheckpointError
from surestep.training.events.log import Interval
from surestep.training.optimizer.parameter_groups import build_optimizer, parameter_names, set_learning_rate
from surestep.training.run_state import RunState, load_state, save_state, seed_step

CONFIG = TrainingConfig(learning_rate=1e-3, head_learning_rate=5e-3, weight_decay=0.2)


@pytest.fixture(scope="module")
def model(build_small: Callable[..., Any]) -> Any:
    return build_small("llama", lora=True).model


@pytest.fixture
def optimizer(model: Any) -> torch.optim.AdamW:
    """After one step with random gradients, all but one parameter's."""
    found = build_optimizer(model, CONFIG)
    torch.manual_seed(0)
    for parameter in [p for p in model.parameters() if p.requires_grad][1:]:
        parameter.grad = torch.randn_like(parameter)
    found.step()
    model.zero_grad(set_to_none=True)
    return found


def draw() -> tuple[float, float, float]:
    return float(torch.rand(())), random.random(), float(np.random.rand())


def test_every_step_and_process_has_randomness_of_its_own() -> None:
    found = []
    for step, rank in ((3, 0), (3, 0), (4, 0), (3, 1)):
        seed_step(42, step, rank)
        found.append(draw())
    assert found[0] == found[1]
    assert all(len({values[i] for values in found[1:]}) == 3 for i in range(3))


def test_the_randomness_of_a_step_is_what_torch_draws_after_the_same_seed() -> None:
    seed_step(42, 3, 0)
    found = torch.rand(5)
    torch.manual_seed(torch.initial_seed())
    assert torch.equal(torch.rand(5), found)


def test_what_is_saved_is_read_back_to_the_bit(model: Any, optimizer: torch.optim.AdamW, tmp_path: Path) -> None:
    interval = Interval([torch.tensor(0.1), torch.tensor(1 / 3)], [0.1, 1 / 7], 100, {"own": 7}, 1.5)
    state = RunState(step=3, drawn={"own": 24}, best={"step": 2, "value": 1 / 3}, best_seen=1 / 3)
    state.interval = interval.to_dict([float(loss) for loss in interval.losses], interval.weights)
    save_state(tmp_path, state, optimizer, parameter_names(model))
    other = build_optimizer(model, CONFIG)
    again = load_state(tmp_path, other, parameter_names(model))
    assert again == state
    assert set(other.state) == set(optimizer.state)
    for parameter, moments in optimizer.state.items():
        assert all(torch.equal(other.state[parameter][key], value) for key, value in moments.items())
    losses = Interval.from_dict(again.interval, device=torch.device("cpu"), is_main=True).losses
    assert torch.equal(torch.stack(losses), torch.stack(interval.losses))


@pytest.mark.parametrize("damage", ["missing", "unexpected", "shape"])
def test_moments_that_do_not_fit_are_refused(model: Any, optimizer: Any, tmp_path: Path, damage: str) -> None:
    save_state(tmp_path, RunState(), optimizer, parameter_names(model))
    path = tmp_path / "optimizer.safetensors"
    tensors = load_file(path)
    name = next(key for key in tensors if key.endswith("/exp_avg"))
    if damage == "missing":
        del tensors[name]
    elif damage == "unexpected":
        tensors["nobody/exp_avg"] = torch.zeros(2)
    else:
        tensors[name] = torch.zeros(3)
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=r"optimizer\.safetensors"):
        load_state(tmp_path, build_optimizer(model, CONFIG), parameter_names(model))


def test_matrices_are_decayed_and_the_head_has_its_own_rate(model: Any) -> None:
    groups = build_optimizer(model, CONFIG).param_groups
    names = parameter_names(model)
    placed: dict[str, tuple[float, float]] = {}
    for group in groups:
        for parameter in group["params"]:
            assert names[id(parameter)] not in placed
            placed[names[id(parameter)]] = (group["peak"], group["weight_decay"])
    assert set(placed) == {name for name, p in model.named_parameters() if p.requires_grad}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_head = name.startswith(("head.", "confidence_row"))
            assert placed[name] == (5e-3 if is_head else 1e-3, 0.2 if parameter.ndim > 1 else 0.0)
    assert placed["confidence_row"] == (5e-3, 0.0)


def test_each_group_follows_its_own_peak(model: Any) -> None:
    optimizer = build_optimizer(model, CONFIG)
    set_learning_rate(optimizer, 0.5)
    assert {group["lr"] for group in optimizer.param_groups} == {5e-4, 2.5e-3}

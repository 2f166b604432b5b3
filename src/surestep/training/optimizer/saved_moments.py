"""An optimiser's moments as named tensors and back, to the bit: torch's AdamW, and the 8-bit one of bitsandbytes.

Knows no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from surestep.errors import CheckpointError
from surestep.model.saved_weights import check_keys
from surestep.model.sharding import fill
from surestep.training.optimizer.adamw_8bit import is_8bit

_CODES = ("qmap1", "qmap2")
"""The numbers that 8 bits stand for, which all parameters share: kept once, and compared when they are read."""


def allocate_moments(optimizer: torch.optim.Optimizer) -> None:
    """Give every parameter without moments those that its first step would begin with: zeros.

    So memory that is too small for them is found out before any weight has moved.
    """
    fresh = _fresh_8bit if is_8bit(optimizer) else _fresh
    for group_index, group in enumerate(optimizer.param_groups):
        for index, parameter in enumerate(group["params"]):
            if not optimizer.state.get(parameter):
                optimizer.state[parameter] = fresh(optimizer, group_index, index)


def moments_to_tensors(
    optimizer: torch.optim.Optimizer, names: dict[int, str], *, in_place: bool = False
) -> dict[str, Tensor]:
    """`name/key` to tensor, on the CPU; `names` gives each parameter's name by its `id`.

    A parameter that was never stepped, for want of a gradient, has none. With `in_place` they are the optimiser's own,
    where they lie and sharded as they are.
    """
    tensors: dict[str, Tensor] = {}
    for parameter, moments in optimizer.state.items():
        if float(moments["step"]) == 0:
            continue
        for key, value in moments.items():
            tensor = torch.as_tensor(value)
            name = key if key in _CODES else f"{names[id(parameter)]}/{key}"
            tensors[name] = tensor if in_place else tensor.contiguous().cpu()
    return tensors


def tensors_to_moments(
    optimizer: torch.optim.Optimizer, names: dict[int, str], tensors: dict[str, Tensor], *, path: Path
) -> None:
    """Put `tensors`, read from `path`, in place.

    Raises:
        CheckpointError: a moment is missing, unexpected, of another shape or of another optimiser.
    """
    in_8_bits = is_8bit(optimizer)
    saved_by = "adamw_8bit" if any(key.endswith("/state1") for key in tensors) else "adamw"
    wanted = "adamw_8bit" if in_8_bits else "adamw"
    if tensors and saved_by != wanted:
        raise CheckpointError(
            f"{path} was saved with training.optimizer {saved_by}, which is now {wanted}: resume with "
            f"--optimizer {saved_by}, or start from these weights with --init_from"
        )
    states = _fresh_states(optimizer, names, tensors)
    expected = _by_name(states)
    check_keys(path, tensors, expected)
    _check_codes(expected, tensors, path)
    for name, (parameter, state) in states.items():
        for key, value in state.items():
            if key in _CODES:
                continue
            found = tensors[f"{name}/{key}"]
            if isinstance(value, Tensor):
                fill(value, found)
            else:
                state[key] = type(value)(found)
        optimizer.state[parameter] = state


def places_of_moments(
    optimizer: torch.optim.Optimizer, names: dict[int, str], shapes: Mapping[str, tuple[int, ...]], *, path: Path
) -> dict[str, Tensor]:
    """The moments of torch's AdamW that `shapes`, those of the tensors in `path`, are for: by name, to be filled.

    Raises:
        CheckpointError: a moment is missing, unexpected, of another shape or of another optimiser.
    """
    if is_8bit(optimizer):
        raise CheckpointError(
            f"{path} was saved with training.optimizer adamw, which is now adamw_8bit: resume with --optimizer adamw, "
            "or start from these weights with --init_from"
        )
    states = _fresh_states(optimizer, names, shapes)
    places = _by_name(states)
    check_keys(path, {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}, places)
    optimizer.state.update(dict(states.values()))
    return places


def _fresh_states(
    optimizer: torch.optim.Optimizer, names: dict[int, str], keys: Iterable[str]
) -> dict[str, tuple[Tensor, dict[str, Any]]]:
    """Parameter and new state, by name, of those whose moments `keys` name: one that was never stepped has none."""
    fresh = _fresh_8bit if is_8bit(optimizer) else _fresh
    stepped = {key.rpartition("/")[0] for key in keys if "/" in key}
    return {
        names[id(parameter)]: (parameter, fresh(optimizer, group_index, index))
        for group_index, group in enumerate(optimizer.param_groups)
        for index, parameter in enumerate(group["params"])
        if names[id(parameter)] in stepped
    }


def _by_name(states: Mapping[str, tuple[Tensor, dict[str, Any]]]) -> dict[str, Tensor]:
    return {
        key if key in _CODES else f"{name}/{key}": torch.as_tensor(value)
        for name, (_, state) in states.items()
        for key, value in state.items()
    }


def _fresh(optimizer: torch.optim.Optimizer, group_index: int, index: int) -> dict[str, Any]:
    """What torch's AdamW holds of a parameter before its first step; the fused one counts steps on the device."""
    group = optimizer.param_groups[group_index]
    parameter = group["params"][index]
    return {
        "step": torch.zeros((), device=parameter.device if group.get("fused") else "cpu"),
        "exp_avg": torch.zeros_like(parameter, requires_grad=False, memory_format=torch.preserve_format),
        "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False, memory_format=torch.preserve_format),
    }


def _fresh_8bit(optimizer: Any, group_index: int, index: int) -> dict[str, Any]:
    """What bitsandbytes' optimiser holds of a parameter, as it makes it itself."""
    group = optimizer.param_groups[group_index]
    parameter = group["params"][index]
    optimizer.init_state(group, parameter, group_index, index)
    return dict(optimizer.state.pop(parameter))


def _check_codes(expected: dict[str, Tensor], found: dict[str, Tensor], path: Path) -> None:
    if any(key in expected and not torch.equal(expected[key].cpu(), found[key]) for key in _CODES):
        raise CheckpointError(
            f"{path} holds 8-bit moments in other codes than this bitsandbytes has: install the release that "
            "manifest.json names, or start from these weights with --init_from"
        )

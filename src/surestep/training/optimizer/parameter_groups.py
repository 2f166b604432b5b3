"""AdamW over the trainable weights, decay on matrices only, its moments in 32 or in 8 bits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch

from surestep.config import TrainingConfig
from surestep.model.confidence_model import ConfidenceModel
from surestep.training.optimizer.adamw_8bit import BLOCK, SMALLEST, adamw_8bit

Role = Literal["backbone", "head"]
"""What a parameter belongs to: the backbone with its adapters, or the head with the `<CONFIDENCE>` row."""


class Group(NamedTuple):
    """What the parameters of one group share; `bits` of their moments."""

    peak: float
    decay: float
    bits: int


def role_of(name: str) -> Role:
    """The role of a parameter of the model, by its name.

    >>> role_of("head.output.weight"), role_of("backbone.layers.0.self_attn.q_proj.weight")
    ('head', 'backbone')
    """
    return "head" if name.startswith(("head.", "confidence_row")) else "backbone"


def parameter_names(model: ConfidenceModel) -> dict[int, str]:
    """Name of each trainable parameter by its `id`."""
    return {id(p): name for name, p in model.named_parameters() if p.requires_grad}


def parameter_groups(model: ConfidenceModel, config: TrainingConfig) -> dict[Group, list[torch.nn.Parameter]]:
    """Backbone and head, each with and without decay.

    Biases, norms and the `<CONFIDENCE>` row are not decayed: pulling them to 0 is no simpler a model. With `adamw_8bit`
    the head, the row and the embedding keep moments of 32 bits: the first two are what is learned from nothing, and
    most rows of the last have no gradient in a step, which blocks of shared scale do not suit.
    """
    head_rate = config.head_learning_rate or config.learning_rate
    embedding = model.embedding.weight
    groups: dict[Group, list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_head = role_of(name) == "head"
        in_8_bits = config.optimizer == "adamw_8bit" and not is_head and parameter is not embedding
        group = Group(
            peak=head_rate if is_head else config.learning_rate,
            decay=config.weight_decay if parameter.ndim > 1 else 0.0,
            bits=8 if in_8_bits else 32,
        )
        groups.setdefault(group, []).append(parameter)
    return groups


def build_optimizer(model: ConfidenceModel, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW over `parameter_groups`; `peak` keeps a group's learning rate.

    Raises:
        ConfigError: its moments shall have 8 bits, and bitsandbytes cannot be used here.
    """
    groups = [
        {"params": parameters, "lr": group.peak, "peak": group.peak, "weight_decay": group.decay}
        | ({"optim_bits": group.bits} if config.optimizer == "adamw_8bit" else {})
        for group, parameters in parameter_groups(model, config).items()
    ]
    if config.optimizer == "adamw_8bit":
        return adamw_8bit(groups)
    return torch.optim.AdamW(groups, fused=model.confidence_row.device.type == "cuda")


def moment_bytes(model: ConfidenceModel, config: TrainingConfig) -> int:
    """Bytes that the moments of all trained weights take, two for each."""
    return sum(
        _moment_bytes(parameter.numel(), group.bits)
        for group, parameters in parameter_groups(model, config).items()
        for parameter in parameters
    )


def _moment_bytes(count: int, bits: int) -> int:
    """Of a tensor of `count` numbers; in 8 bits every block has a scale in float32.

    >>> _moment_bytes(1000, 8), _moment_bytes(8192, 32), _moment_bytes(8192, 8)
    (8000, 65536, 16640)
    """
    if bits == 32 or count < SMALLEST:
        return 2 * count * torch.float32.itemsize
    return 2 * (count + math.ceil(count / BLOCK) * torch.float32.itemsize)


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group to `factor` of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def learning_rates(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> dict[Role, float]:
    """The learning rate of each role, as the groups have it now; groups of one role share it."""
    rates: dict[Role, float] = {}
    for group in optimizer.param_groups:
        for role in {role_of(names[id(parameter)]) for parameter in group["params"]}:
            rates[role] = float(group["lr"])
    return dict(sorted(rates.items()))

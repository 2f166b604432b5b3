"""AdamW over the trainable weights, decay on matrices only, its moments in 32 or in 8 bits.

With `layer_learning_rate_decay` each layer of the backbone has a rate of its own (`backbone_rates`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch

from surestep.config import TrainingConfig
from surestep.errors import BackboneError
from surestep.model.backbones.decoder_stack import parameter_depths
from surestep.model.confidence_model import ConfidenceModel
from surestep.training.optimizer.adamw_8bit import BLOCK, SMALLEST, adamw_8bit

Role = str
"""What a parameter belongs to: `backbone` (with its adapters), or `head` (with the `<CONFIDENCE>` row).

With `layer_learning_rate_decay`, `backbone` is what has the undecayed rate (the last layer and the norm after it);
below it are `backbone_layer_<l>`, counted from 1 and padded with zeros, and `backbone_embeddings`.
"""


class Group(NamedTuple):
    """What the parameters of one group share; `bits` of their moments."""

    peak: float
    decay: float
    bits: int


class BackboneRate(NamedTuple):
    """The peak learning rate of a parameter of the backbone, and the name that it is logged by."""

    role: Role
    peak: float


def is_of_head(name: str) -> bool:
    """Whether a parameter of the model belongs to the head, by its name.

    >>> is_of_head("head.output.weight"), is_of_head("backbone.layers.0.self_attn.q_proj.weight")
    (True, False)
    """
    return name.startswith(("head.", "confidence_row"))


def backbone_rates(model: ConfidenceModel, config: TrainingConfig) -> dict[int, BackboneRate]:
    """Rate and role of each trainable parameter of the backbone, by its `id`.

    `layer_learning_rate_decay` d gives layer l of L the peak `learning_rate` * d^(L - l), and the embeddings, as layer
    0, the lowest. From Howard and Ruder 2018 (arXiv 1801.06146, discriminative fine-tuning) in the form of Clark et al.
    2020 (ELECTRA, arXiv 2003.10555), whose program counts the layers of its head, too; here it has a rate of its own.

    Raises:
        BackboneError: a decay is set, and the backbone has no stack of layers.
    """
    trained = [p for name, p in model.named_parameters() if p.requires_grad and not is_of_head(name)]
    decay = config.layer_learning_rate_decay
    if decay is None:
        return {id(parameter): BackboneRate("backbone", config.learning_rate) for parameter in trained}
    found = parameter_depths(model.transformer)
    if found is None:
        raise BackboneError(
            f"training.layer_learning_rate_decay is {decay:g}, but the layers of this backbone "
            f"({type(model.transformer).__name__}) cannot be told apart: leave it out, or choose another --backbone"
        )
    depths, num_layers = found
    rates: dict[int, BackboneRate] = {}
    for parameter in trained:
        depth = depths[id(parameter)]
        role = "backbone" if depth == num_layers else f"backbone_layer_{depth:0{len(str(num_layers))}d}"
        rates[id(parameter)] = BackboneRate(
            "backbone_embeddings" if depth == 0 else role, config.learning_rate * decay ** (num_layers - depth)
        )
    return rates


def parameter_roles(model: ConfidenceModel, config: TrainingConfig) -> dict[int, Role]:
    """The role of each trainable parameter by its `id`."""
    rates = backbone_rates(model, config)
    return {id(p): rates[id(p)].role if id(p) in rates else "head" for p in model.parameters() if p.requires_grad}


def parameter_names(model: ConfidenceModel) -> dict[int, str]:
    """Name of each trainable parameter by its `id`."""
    return {id(p): name for name, p in model.named_parameters() if p.requires_grad}


def parameter_groups(model: ConfidenceModel, config: TrainingConfig) -> dict[Group, list[torch.nn.Parameter]]:
    """Backbone (its layers, where each has a rate of its own) and head, each with and without decay.

    Biases, norms and the `<CONFIDENCE>` row are not decayed: pulling them to 0 is no simpler a model. With `adamw_8bit`
    the head, the row and the embedding keep moments of 32 bits: the first two are what is learned from nothing, and
    most rows of the last have no gradient in a step, which blocks of shared scale do not suit.
    """
    head_rate = config.head_learning_rate or config.learning_rate
    embedding = model.embedding.weight
    rates = backbone_rates(model, config)
    groups: dict[Group, list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_head = is_of_head(name)
        in_8_bits = config.optimizer == "adamw_8bit" and not is_head and parameter is not embedding
        group = Group(
            peak=head_rate if is_head else rates[id(parameter)].peak,
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
        moments_of(parameter.numel(), group.bits)
        for group, parameters in parameter_groups(model, config).items()
        for parameter in parameters
    )


def moments_of(count: int, bits: int) -> int:
    """Bytes of both moments of a tensor of `count` numbers; in 8 bits every block has a scale in float32.

    >>> moments_of(1000, 8), moments_of(8192, 32), moments_of(8192, 8)
    (8000, 65536, 16640)
    """
    if bits == 32 or count < SMALLEST:
        return 2 * count * torch.float32.itemsize
    return 2 * (count + math.ceil(count / BLOCK) * torch.float32.itemsize)


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group to `factor` of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def learning_rates(optimizer: torch.optim.Optimizer, roles: Mapping[int, Role]) -> dict[Role, float]:
    """The learning rate of each role, as the groups have it now; groups of one role share it."""
    rates: dict[Role, float] = {}
    for group in optimizer.param_groups:
        for role in {roles[id(parameter)] for parameter in group["params"]}:
            rates[role] = float(group["lr"])
    return dict(sorted(rates.items()))

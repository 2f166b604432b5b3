"""AdamW over the trainable weights, decay on matrices only."""

from __future__ import annotations

import torch

from surestep.config import TrainingConfig
from surestep.model.confidence_model import ConfidenceModel


def parameter_names(model: ConfidenceModel) -> dict[int, str]:
    """Name of each trainable parameter by its `id`."""
    return {id(p): name for name, p in model.named_parameters() if p.requires_grad}


def build_optimizer(model: ConfidenceModel, config: TrainingConfig) -> torch.optim.AdamW:
    """Four groups: backbone and head, each with and without decay; `peak` keeps a group's learning rate.

    Biases, norms and the `<CONFIDENCE>` row are not decayed: pulling them to 0 is no simpler a model.
    """
    head_rate = config.head_learning_rate or config.learning_rate
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        rate = head_rate if name.startswith(("head.", "confidence_row")) else config.learning_rate
        groups.setdefault((rate, decay), []).append(parameter)
    fused = model.confidence_row.device.type == "cuda"
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": rate, "peak": rate, "weight_decay": decay}
            for (rate, decay), parameters in groups.items()
        ],
        fused=fused,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Set every group to `factor` of its peak; returns the first group's learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
    return float(optimizer.param_groups[0]["lr"])

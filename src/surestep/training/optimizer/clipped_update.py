"""Gradients clipped by their norm and the optimiser's update: on a GPU in one pass over the gradients.

Clipping for itself reads and writes every gradient once more. Torch's fused AdamW divides gradients as it reads them,
made for losses that were scaled up; what it is told to divide by here is what clipping divides by.
"""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from surestep.model.sharding import is_sharded

_EPSILON = 1e-6
"""What `torch.nn.utils.clip_grad_norm_` adds to the norm."""


def clip_and_step(optimizer: Any, model: nn.Module, accelerator: Accelerator, max_norm: float) -> Tensor | None:
    """Bring the norm of all gradients down to `max_norm` and update the weights; the norm as it was.

    `optimizer` is Accelerate's, around torch's. None where no weight has a gradient, or Accelerate gives no norm.
    """
    if not divides_gradients(optimizer.optimizer) or accelerator.scaler is not None or is_sharded(model):
        norm: Tensor | None = accelerator.clip_grad_norm_(model.parameters(), max_norm)
        optimizer.step()
        return norm
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    if not gradients:
        optimizer.step()
        return None
    norm = torch.nn.utils.get_total_norm(gradients)
    optimizer.optimizer.grad_scale = ((norm + _EPSILON) / max_norm).clamp(min=1.0)
    try:
        optimizer.step()
    finally:
        del optimizer.optimizer.grad_scale
    return norm


def divides_gradients(optimizer: torch.optim.Optimizer) -> bool:
    """Whether it is an AdamW that divides gradients as it reads them: torch's fused one."""
    return type(optimizer) is torch.optim.AdamW and all(group.get("fused") for group in optimizer.param_groups)

"""Copies to a GPU and back that wait where they must.

A copy from page-locked memory may go on while Python does something else: torch keeps that memory until the copy is
through. From other memory it may not. Some drivers read such memory only when the copy's turn comes, behind whatever
the GPU still has to do, and by then the tensor may be gone and its memory hold something else.
"""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on `device`; from page-locked memory without waiting."""
    return tensor.to(device, non_blocking=tensor.is_pinned())


def copy_into(place: Tensor, values: Tensor) -> None:
    """Write `values` to `place`, of the same shape; from page-locked memory, and to it, without waiting."""
    on_host = values if values.device.type == "cpu" else place
    place.copy_(values, non_blocking=on_host.is_pinned())

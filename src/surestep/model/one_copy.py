"""All that a pass reads of its plan, in one piece of memory: one copy to the device instead of ten.

A copy of a few kilobytes takes a GPU some microseconds, and Python more; a recorded pass has little else to wait for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from surestep.model.attention.pooled_keys import PooledKeys
from surestep.model.attention.prepared_mask import KernelMask, PreparedMask


def plan_tensors(plan: PreparedMask) -> list[Tensor]:
    """All that a pass reads of a plan for the kernel; those of 64 bits first."""
    batch, mask, keys = plan.batch, plan.kernel_mask, plan.keys
    assert mask is not None, "planned for the kernel"
    found = [batch.tokens_P, batch.positions_P, batch.subtree_end_P, batch.label_index_S]
    if not isinstance(keys, PooledKeys):
        return [*found, *mask]
    assert keys.index_P is not None, "planned for the kernel"
    return [*found, keys.slots_V, keys.slots_W, *mask, keys.index_P]


def with_tensors(plan: PreparedMask, tensors: Sequence[Tensor]) -> PreparedMask:
    """The plan over other memory, in the order of `plan_tensors`."""
    tokens, positions, ends, index, *others = tensors
    batch = replace(plan.batch, tokens_P=tokens, positions_P=positions, subtree_end_P=ends, label_index_S=index)
    keys = plan.keys
    if isinstance(keys, PooledKeys):
        slots_V, slots_W, *others = others
        keys = replace(keys, slots_V=slots_V, slots_W=slots_W, index_P=others.pop())
    return replace(plan, batch=batch, kernel_mask=KernelMask(*others), keys=keys, _blocks={})


def in_one_piece(tensors: Sequence[Tensor]) -> Tensor:
    """The bytes of all tensors, one after another; each is to begin where its numbers, and the kernels, can read it."""
    return torch.cat([tensor.contiguous().view(torch.uint8) for tensor in tensors])


def views(piece: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The tensors as they lie in `piece`, shaped as those it was made of."""
    parts = torch.split_with_sizes(piece, [tensor.nbytes for tensor in like])
    return [part.view(tensor.dtype) for part, tensor in zip(parts, like, strict=True)]

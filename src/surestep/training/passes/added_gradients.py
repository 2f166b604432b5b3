"""A pass's gradients added to those of the passes before it, in few kernels.

Left to autograd, every weight's gradient is added by a kernel of its own. Of adapters there are hundreds, each so small
that starting its kernel takes as long as running it: 152 kernels of a 0.6B model's pass are 6 here
(docs/experiments/2026-11-29-what-a-pass-is-made-of.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def add_gradients(loss: Tensor, parameters: Sequence[Tensor]) -> None:
    """As `loss.backward()` for `parameters`, to the bit; those that `loss` does not depend on keep what they have.

    All new gradients are held at once: for weights that are few beside what a pass keeps.
    """
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    sums: list[Tensor] = []
    added: list[Tensor] = []
    taken: set[int] = set()
    for parameter, gradient in zip(parameters, found, strict=True):
        if gradient is None:
            continue
        if parameter.grad is None:
            own, memory = gradient.contiguous(), gradient.untyped_storage().data_ptr()
            # Weights that are added to each other have one gradient: as one tensor, it would be added to twice.
            parameter.grad = own.clone() if own is gradient and memory in taken else own
            taken.add(memory)
        elif gradient.is_contiguous():
            sums.append(parameter.grad)
            added.append(gradient)
        else:  # part of a wider tensor: one of them, and all would be added one by one
            parameter.grad.add_(gradient)
    if sums:
        torch._foreach_add_(sums, added)

"""Gradients added up over the processes, when the passes of all of them are done.

By hand, and not by DistributedDataParallel, which exchanges them within the last backward pass: a process whose memory
runs out there would leave the others waiting, and a weight without a gradient on one process (an expert that none of
its tokens chose) would be an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from surestep.scoring.spread.together import others_alive

BUCKET_BYTES = 1 << 26
"""Gradients that travel together: so many that a message costs nothing, and so few that the copy of them fits."""


@torch.no_grad()
def add_up_gradients(parameters: Iterable[Tensor]) -> None:
    """Give each parameter the sum of its gradients over the processes; one without a gradient counts as zeros.

    Every process must name the same parameters.

    Raises:
        ProcessesError: another process has gone.
    """
    for bucket in buckets(parameters):
        for parameter in bucket:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in bucket if parameter.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        with others_alive():
            torch.distributed.all_reduce(flat)
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(parts, gradients, strict=True)])


@torch.no_grad()
def take_over_weights(model: nn.Module) -> None:
    """Give the trained weights of every process the values of the first one's.

    Raises:
        ProcessesError: another process has gone.
    """
    for parameter in model.parameters():
        if parameter.requires_grad:
            with others_alive():
                torch.distributed.broadcast(parameter.data, src=0)


def buckets(parameters: Iterable[Tensor], size: int = BUCKET_BYTES) -> Iterator[list[Tensor]]:
    """The parameters in their order, those of one dtype that lie together in lists of about `size` bytes."""
    bucket: list[Tensor] = []
    held = 0
    for parameter in parameters:
        num_bytes = parameter.numel() * parameter.element_size()
        if bucket and (held + num_bytes > size or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket, held = [], 0
        bucket.append(parameter)
        held += num_bytes
    if bucket:
        yield bucket

"""Copies to a GPU and back that wait where they must.

A copy from page-locked memory may go on while Python does something else: torch keeps that memory until the copy is
through. From other memory it may not. Some drivers read such memory only when the copy's turn comes, behind whatever
the GPU still has to do, and by then the tensor may be gone and its memory hold something else.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from functools import cache
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor


class Movable(Protocol):
    """What goes to a device as a whole."""

    def to(self, device: torch.device) -> Self:
        """The same on `device`."""
        ...


T = TypeVar("T", bound=Movable)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on `device`; from page-locked memory without waiting."""
    return tensor.to(device, non_blocking=tensor.is_pinned())


def copy_into(place: Tensor, values: Tensor) -> None:
    """Write `values` to `place`, of the same shape; from page-locked memory, to it, and on a GPU without waiting."""
    on_host = values if values.device.type == "cpu" else place
    place.copy_(values, non_blocking=on_host.is_pinned())


def copied_ahead(packs: Iterable[T], device: torch.device) -> Generator[T, None, None]:
    """Each of `packs` on `device`, in order; to a GPU the next one is on its way before it is asked for.

    Copies have a stream of their own. What the current stream is given once a pack has come waits for the copy of that
    pack, and for none behind it. The memory of a pack that is let go of is used again for a later one, whose copy waits
    for what the current stream had been given when the next pack was asked for, or this ended: work with a pack is
    given out before that, or the pack is kept. Closed early, it drops what is on its way.
    """
    moved = (pack.to(device) for pack in packs)
    if device.type != "cuda":
        yield from moved
        return
    working, copying = torch.cuda.current_stream(device), _copying_stream(device)

    def started() -> T | None:
        with torch.cuda.stream(copying):
            return next(moved, None)

    # Without waiting: beside whatever the device still has to do since the last of earlier packs (a step's update).
    ahead = started()
    try:
        while ahead is not None:
            # In this order, so that no work waits for a wait for the work before it.
            working.wait_stream(copying)
            copying.wait_stream(working)
            here, ahead = ahead, started()
            yield here
    finally:
        copying.wait_stream(working)


@cache
def _copying_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all: torch keeps the memory of each stream apart from that of others."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

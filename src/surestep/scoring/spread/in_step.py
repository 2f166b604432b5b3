"""Passes of a sharded model by processes that have different numbers of them.

A pass of such a model puts weights together that lie on all processes, so all must run one. Before each of its own a
process tells the others; whoever has none left runs an empty one with them, until nobody has any.

Knows passes; knows no tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from surestep.scoring.spread.together import Together


@contextmanager
def passes_in_step(model: nn.Module, together: Together, run_empty: Callable[[], Any]) -> Iterator[None]:
    """Within it every pass of `model` is one of all processes; at its end, so are those that the others still run.

    Args:
        model: sharded over these processes.
        together: all of them enter the block, at the same place.
        run_empty: runs a pass of `model` that is as small as can be.

    Raises:
        ProcessesError: another process has gone.
    """

    def announce(*_arguments: Any) -> None:
        together.summed([1.0])

    announced = model.register_forward_pre_hook(announce, prepend=True)
    try:
        yield
    finally:
        announced.remove()
    while together.any(False):
        run_empty()

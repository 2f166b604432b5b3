"""Records what a function starts on the GPU, to be started again with one call."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import torch

T = TypeVar("T")


def capture(run: Callable[[], T], pool: Any) -> tuple[Any, T]:
    """A `torch.cuda.CUDAGraph` of `run`, and what `run` returned, whose memory every replay writes anew.

    `run` is not executed. Its memory comes from `pool` (`torch.cuda.graph_pool_handle`), which several graphs may share
    as long as one is replayed at a time and its result is read before the next.

    Raises:
        RuntimeError: something in `run` waits for the GPU; stream, pool and random numbers are as before, so that what
            comes next may run as usual. `torch.OutOfMemoryError` is one.
    """
    graph = torch.cuda.CUDAGraph()
    stream = torch.cuda.current_stream()
    draws = torch.cuda.get_rng_state()
    try:
        # Only this thread is watched: another may page-lock memory meanwhile.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            result = run()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        # A recording that breaks off leaves its stream current, its pool open and the generator of random numbers
        # believing that it is still recorded, for whatever comes next.
        torch.cuda.set_stream(stream)
        with suppress(RuntimeError):
            torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)
        fresh = torch.Generator(stream.device)
        fresh.set_state(draws)
        torch.cuda.default_generators[stream.device_index].graphsafe_set_state(fresh)
        raise
    return graph, result


def cause_of(error: RuntimeError) -> str:
    """The beginning of an error's first line, to be said to the user."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:100]

"""Where the time of a piece of work goes: the kernels of a GPU, or on a CPU torch's own operations."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch

from surestep.bench.timing import seconds

Json = dict[str, Any]
Run = tuple[str, float, float]
"""Name, beginning and end of one run of a kernel."""


def kernels_of(work: Callable[[], object], device: torch.device, most: int) -> Json:
    """Do `work` once more under torch's profiler.

    Returns:
        `wall_s`; `busy_s`, the part of it in which the device ran something; `runs`, how many it ran; and `kernels`,
        the `most` names with the longest time of their own: `name`, `seconds` and `runs`.
    """
    from torch.profiler import ProfilerActivity, profile

    on_gpu = device.type == "cuda"
    # Torch's profiler says on standard error that it starts and stops.
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as profiled:
        wall = seconds(work, device)
    if not on_gpu:
        # An operation's time without those that it calls; in one thread, so these add up to what it was busy.
        found = [
            {"name": event.key, "seconds": event.self_cpu_time_total / 1e6, "runs": event.count}
            for event in profiled.key_averages()
        ]
        return _summary(wall, sum(one["seconds"] for one in found), found, most)
    events: Any = profiled.events()
    runs = [
        (event.name, event.time_range.start / 1e6, event.time_range.end / 1e6)
        for event in events
        if event.device_type.name == "CUDA"
    ]
    return _summary(wall, busy_seconds(runs), summed(runs), most)


def summed(runs: Iterable[Run]) -> list[Json]:
    """Of each name its seconds and runs.

    >>> summed([("a", 0.0, 1.0), ("b", 0.5, 1.0), ("a", 2.0, 2.5)])
    [{'name': 'a', 'seconds': 1.5, 'runs': 2}, {'name': 'b', 'seconds': 0.5, 'runs': 1}]
    """
    times: dict[str, list[float]] = defaultdict(list)
    for name, start, end in runs:
        times[name].append(end - start)
    return [{"name": name, "seconds": sum(taken), "runs": len(taken)} for name, taken in times.items()]


def busy_seconds(runs: Iterable[Run]) -> float:
    """How long at least one of them ran.

    >>> busy_seconds([("b", 0.5, 1.5), ("a", 0.0, 1.0), ("c", 0.6, 0.7), ("d", 3.0, 4.0)])
    2.5
    """
    busy, until = 0.0, float("-inf")
    for _, start, end in sorted(runs, key=lambda run: run[1]):
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return busy


def _summary(wall: float, busy: float, found: list[Json], most: int) -> Json:
    longest = sorted(found, key=lambda one: one["seconds"], reverse=True)
    return {"wall_s": wall, "busy_s": busy, "runs": sum(one["runs"] for one in found), "kernels": longest[:most]}

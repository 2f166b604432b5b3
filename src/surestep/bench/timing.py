"""Clocks, ceilings and the record of a measurement; medians of repeats, because machines are noisy."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from surestep.scoring.checkpoint.versions import git_commit, library_versions
from surestep.scoring.hardware import Hardware

_CEILING_SIZE = {"cuda": 8192, "cpu": 1024}


@dataclass
class Measurement:
    """One row of the table, and one line of JSON.

    Attributes:
        tokens_per_s: median over the repeats, tokens that belong to examples.
        spread: (fastest - slowest) / median of the repeats' rates.
        labels_per_s: labelled (training) or scored (scoring) steps a second.
        ceiling_share: floating-point operations of the matrix products with the weights, over what the measured
            ceiling does in that time.
        padding: share of the tokens run that belong to no example.
        peak_gb: peak memory of the GPU in 1e9 bytes, or resident memory on a CPU.
        reserved_gb: what the process took of the GPU for that, gaps included; 0 on a CPU.
        first_step_s: from the loaded model to the first step done: compilation and warm caches included.
    """

    name: str
    tokens_per_s: float
    labels_per_s: float
    spread: float
    ceiling_share: float
    padding: float
    peak_gb: float
    reserved_gb: float
    first_step_s: float
    settings: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def synchronize(device: torch.device) -> None:
    """Wait for the GPU, where there is one."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of `work`, up to the end of what it left to the GPU."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def matmul_ceiling(hardware: Hardware, repeats: int = 10) -> float:
    """Floating-point operations a second of one large matrix product on random numbers, on a machine that rested."""
    product, operations = _large_product(hardware)
    for _ in range(3):
        product()
    times = [seconds(product, hardware.device) for _ in range(repeats)]
    return float(operations / np.median(times))


def sustained_ceiling(hardware: Hardware, duration: float = 1.0) -> float:
    """The same of products one after another, in the second half of `duration` seconds.

    A GPU at its power limit lowers its clock within a tenth of a second; no work of any length goes faster than this.
    """
    product, operations = _large_product(hardware)

    def many() -> None:
        for _ in range(20):
            product()  # and no result is kept: twenty of them are gigabytes

    start = time.perf_counter()
    rates: list[float] = []
    while (elapsed := time.perf_counter() - start) < duration or not rates:
        took = seconds(many, hardware.device)
        if elapsed >= duration / 2 or took > duration / 2:
            rates.append(20 * operations / took)
    return float(np.median(rates))


def _large_product(hardware: Hardware) -> tuple[Callable[[], object], int]:
    """A matrix product, and its floating-point operations."""
    size = _CEILING_SIZE[hardware.device.type]
    a, b = (torch.randn(size, size, device=hardware.device, dtype=hardware.compute_dtype) for _ in range(2))
    return lambda: torch.matmul(a, b), 2 * size**3


def environment(hardware: Hardware) -> dict[str, Any]:
    """What a figure depends on besides the code."""
    device = torch.cuda.get_device_name() if hardware.device.type == "cuda" else platform.processor() or "CPU"
    return {
        "device": device,
        "precision": hardware.precision,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": library_versions(),
        "git_commit": git_commit(),
    }

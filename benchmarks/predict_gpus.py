"""What 1 to 512 GPUs should give, by arithmetic from measured pieces (printed in docs/explanation/growth-with-gpus.md).

    python benchmarks/predict_gpus.py

Prints Markdown: tokens a second and growth over one GPU, and memory of each GPU. How uneven the work of the processes
is, is no assumption: trees with the lengths of the benchmark are dealt out as in a run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from surestep.bench.example_work import chain_lengths
from surestep.encoding.packing import even_shares

COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
A_MACHINE = 8
WITHIN, BETWEEN = 300e9, 40e9
"""Bytes a second that a GPU moves in a collective: over NVLink, and over a 400 Gb/s network card of its own."""
MESSAGE = 0.2e-3
"""Seconds of an agreement over gloo, for each doubling of the processes."""
SHARDED = 0.87
"""Speed of a GPU with sharded layers, fused and not compiled, against one with whole ones: 44,404 tokens/s of two GPUs
against twice 25,393 (docs/experiments/2026-11-28-recorded-scoring-and-fused-shards.md). Not fused it was 0.68."""


@dataclass(frozen=True)
class Run:
    """A way to train.

    Attributes:
        speed: tokens a second on one GPU, measured (docs/how-to/fit-a-gpu.md).
        weights, trained: how many; `bytes_held` of each weight where it is held.
        in_passes: bytes that each weight's gathering and its gradient's scattering move in a pass; 0: data parallel.
        examples: of each process in an optimiser step.
    """

    name: str
    speed: float
    weights: float
    trained: float
    bytes_held: int
    in_passes: int
    examples: int = 64
    tokens_a_pass: int = 16384


LORA = Run("4B LoRA, data parallel", 34_926, 4.02e9, 11.8e6, 2, 0)
FULL = Run("4B full, `--fsdp true`", 26_000 * SHARDED, 4.02e9, 4.02e9, 4, 2 + 2 + 4)
MOE = Run("30B mixture of experts, LoRA, `--fsdp true`", float("nan"), 30.5e9, 26e6, 2, 2 + 2)


MEASURED = {LORA.name: {1: 34_455, 2: 68_189, 4: 136_956}, FULL.name: {2: 44_404}}
"""Tokens a second, found afterwards (docs/experiments/2026-11-28-four-h200s.md); of the full run, what `SHARDED` was
taken from."""


def unevenness(count: int, examples: int, steps: int = 20) -> float:
    """Work of the busiest process over the mean, of `count` with `examples` trees each, mean over steps."""
    found = []
    for step in range(steps):
        lengths = [float(length) for length in chain_lengths(count * examples, seed=step)]
        loads = [sum(lengths[item] for item in share) for share in even_shares(lengths, count)]
        found.append(max(loads) / (sum(loads) / count))
    return float(np.mean(found))


def bandwidth(count: int) -> float:
    """Bytes a second in a collective of so many GPUs: the slowest link decides."""
    return WITHIN if count <= A_MACHINE else BETWEEN


def tokens_per_second(run: Run, count: int) -> float:
    """Over all GPUs: computing, with what is exchanged beside it (shards) or behind it (gradients)."""
    tokens = run.examples * float(np.mean(chain_lengths(20_000)))
    computing = tokens / run.speed * unevenness(count, run.examples)
    if count == 1:
        return tokens / computing
    part = (count - 1) / count
    agreeing = MESSAGE * np.log2(count)
    if run.in_passes:
        passes = np.ceil(tokens / run.tokens_a_pass)
        moving = passes * run.in_passes * run.weights * part / bandwidth(count)
        return float(count * tokens / (max(computing, moving) + agreeing))
    adding = 2 * 4 * run.trained * part / bandwidth(count)
    return float(count * tokens / (computing + adding + agreeing))


def gigabytes(run: Run, count: int) -> float:
    """Of weights, gradients and moments on each GPU, without activations and the layer that is whole at the time."""
    divided = count if run.in_passes else 1
    frozen = run.weights - run.trained if run.trained < run.weights else 0.0
    return (frozen * run.bytes_held + run.trained * 16) / divided / 1e9


def main() -> None:
    """Print both tables."""
    print("| GPUs | " + " | ".join(f"{run.name}: tokens/s (growth)" for run in (LORA, FULL)) + " |")
    print("|---|---|---|")
    for count in COUNTS:
        cells = []
        for run in (LORA, FULL):
            speed = tokens_per_second(run, count)
            cells.append(f"{speed:,.0f} ({speed / tokens_per_second(run, 1):.1f})")
        print(f"| {count} | " + " | ".join(cells) + " |")
    print()
    print("| GPUs | " + " | ".join(f"{run.name}: predicted, measured" for run in (LORA, FULL)) + " |")
    print("|---|---|---|")
    for count in (1, 2, 4):
        cells = []
        for run in (LORA, FULL):
            speed, found = tokens_per_second(run, count), MEASURED[run.name].get(count)
            if run is FULL and count == 1:  # nothing is shared out
                cells.append("")
                continue
            found_off = f"{100 * (found / speed - 1):+.1f} %".replace("-", "−") if found else ""
            cells.append(f"{speed:,.0f}, {found:,} ({found_off})" if found else f"{speed:,.0f}, not measured")
        print(f"| {count} |" + "".join(f" {cell} |" if cell else " |" for cell in cells))
    print()
    print("| GPUs | " + " | ".join(f"{run.name}: GB" for run in (LORA, FULL, MOE)) + " |")
    print("|---|---|---|---|")
    for count in COUNTS[:7]:
        print(f"| {count} | " + " | ".join(f"{gigabytes(run, count):.1f}" for run in (LORA, FULL, MOE)) + " |")
    print()
    print("| processes | busiest over mean, 16 trees each | 64 trees each |")
    print("|---|---|---|")
    for count in (2, 4, 8, 64, 512):
        print(f"| {count} | {unevenness(count, 16):.3f} | {unevenness(count, 64):.3f} |")


if __name__ == "__main__":
    main()

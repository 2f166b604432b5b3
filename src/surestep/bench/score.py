"""Scoring speed: the scorer that evaluation and serving use, packing included."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence

import numpy as np
import torch

from surestep.bench.kernels import kernels_of
from surestep.bench.timing import Measurement, seconds, synchronize
from surestep.bench.train import flops_per_token
from surestep.bench.warm_up import compiled_graphs, warm_until_nothing_new
from surestep.encoding.encoded_tree import EncodedTree
from surestep.scoring.build_model import BuiltModel
from surestep.scoring.hardware import memory_reserved_gb, memory_used_gb
from surestep.scoring.model_scorer import ModelScorer

MOST_ROUNDS = 8
"""Rounds over all trees after which the clock starts anyway."""


def bench_scoring(
    name: str,
    built: BuiltModel,
    scorer: ModelScorer,
    trees: Sequence[EncodedTree],
    *,
    ceiling: float,
    repeats: int = 3,
    profiled: int = 0,
) -> Measurement:
    """Time `repeats` times the scoring of every step of `trees`, after rounds in which nothing new is made any more.

    With `profiled`, `settings` name as many kernels that take the time of one more repeat (`kernels_of`).
    """
    device = built.hardware.device

    def score() -> None:
        for _ in scorer.score_encoded(trees):
            pass

    synchronize(device)
    start = time.perf_counter()
    score()
    synchronize(device)
    first = time.perf_counter() - start
    on_gpu = device.type == "cuda"

    def made() -> int:
        return compiled_graphs() + (0 if scorer.recorded is None else scorer.recorded.num_shapes)

    warm = warm_until_nothing_new(score, made, fewest=0, quiet=1 if on_gpu else 0, most=MOST_ROUNDS)
    if on_gpu:
        gc.collect()
        torch.cuda.empty_cache()  # what was measured before belongs to another row
        torch.cuda.reset_peak_memory_stats(device)
    times = [seconds(score, device) for _ in range(repeats)]
    kernels = kernels_of(score, device, profiled) if profiled else None
    median = float(np.median(times))
    tokens = sum(tree.num_tokens for tree in trees)
    return Measurement(
        name=name,
        tokens_per_s=tokens / median,
        labels_per_s=sum(tree.num_nodes - 1 for tree in trees) / median,
        spread=(max(times) - min(times)) / median,
        ceiling_share=tokens / median * flops_per_token(built, training=False) / ceiling,
        padding=0.0,
        peak_gb=memory_used_gb(device),
        reserved_gb=memory_reserved_gb(device),
        first_step_s=first,
        settings={"token_budget": scorer.token_budget, "compiled": built.is_compiled, "times_s": times}
        | {"warm_up_rounds": warm.rounds + 1, "warm_up_complete": warm.is_complete}
        | ({} if kernels is None else {"profile": kernels}),
    )

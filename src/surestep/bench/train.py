"""Training speed: the trainer's own optimiser steps, loader and all, on given examples."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence

import numpy as np
import torch

from surestep.bench.example_work import run_data
from surestep.bench.timing import Measurement, synchronize
from surestep.bench.warm_up import compiled_graphs, warm_until_nothing_new
from surestep.config import Config
from surestep.encoding.encoded_tree import EncodedTree
from surestep.scoring.build_model import BuiltModel
from surestep.scoring.hardware import memory_reserved_gb, memory_used_gb
from surestep.training.passes.recorded import records_passes
from surestep.training.processes import make_accelerator
from surestep.training.trainer import Trainer

QUIET_STEPS = 6
"""Steps in a row that must meet no new shape before the clock starts."""
MOST_WARM_STEPS = 100
"""Steps after which it starts anyway."""


def flops_per_token(built: BuiltModel, *, training: bool) -> int:
    """2 P forward; 2 P more for the input's gradient, and 2 P for the weights' own where they are trained.

    Of all layers, so that programs compare: what the last one leaves out counts as done.
    """
    if not training:
        return 2 * built.weights_in_products
    is_full = any(p.requires_grad for name, p in built.model.transformer.named_parameters() if "lora_" not in name)
    return (6 if is_full else 4) * built.weights_in_products


def bench_training(
    name: str,
    built: BuiltModel,
    config: Config,
    trees: Sequence[EncodedTree],
    *,
    token_budget: int,
    ceiling: float,
    steps: int = 8,
    repeats: int = 3,
    warmup: int | None = None,
) -> Measurement:
    """Time `repeats` times `steps` optimiser steps, after at least `warmup` of them and until nothing new is made.

    Passes are recorded and compiled outside what is timed; `settings` say how many steps that took.

    The optimiser step draws, packs, moves, runs, clips and updates as in a run; logs, validation and checkpoints are
    left out. `ceiling` in floating-point operations a second.
    """
    if warmup is None:
        warmup = QUIET_STEPS + 1 if built.hardware.device.type == "cuda" else 3
    config = config.model_copy(deep=True)
    config.training.max_steps = max(warmup, MOST_WARM_STEPS) + steps * repeats + 1
    device = built.hardware.device
    if device.type == "cuda":
        # What was measured before belongs to another row; its trainer refers to itself, so a collection ends it.
        gc.collect()
        torch.cuda.empty_cache()
        # Before the first pass: a recorded one takes its memory when it is recorded, and replays do not count again.
        torch.cuda.reset_peak_memory_stats(device)
    accelerator = make_accelerator(built.hardware)
    trainer = Trainer(
        config.training,
        built,
        run_data(trees).training,
        accelerator=accelerator,
        token_budget=token_budget,
        recorded=records_passes(config.training, config.lora, built, accelerator, token_budget),
    )
    built.model.train()
    stream = trainer.bare_steps()
    start = time.perf_counter()
    next(stream)
    synchronize(device)
    first = time.perf_counter() - start
    warm = warm_until_nothing_new(
        lambda: next(stream),
        lambda: trainer.optimizer_step.num_recorded + compiled_graphs(),
        fewest=warmup - 1,
        quiet=min(QUIET_STEPS, warmup - 1),
        most=MOST_WARM_STEPS - 1,
    )
    times, tokens, labels, run = [], [], [], 0
    for _ in range(repeats):
        synchronize(device)
        start = time.perf_counter()
        done = [next(stream).packs for _ in range(steps)]
        synchronize(device)
        times.append(time.perf_counter() - start)
        tokens.append(sum(step.num_tokens for step in done))
        labels.append(sum(sum(step.labels.values()) for step in done))
        run += sum(pack.num_tokens_run for step in done for pack in step.packs)
    stream.close()
    # Repeats hold different examples, so rates are compared and not times.
    rates = np.array(tokens) / times
    tokens_per_s = float(np.median(rates))
    return Measurement(
        name=name,
        tokens_per_s=tokens_per_s,
        labels_per_s=float(np.median(np.array(labels) / times)),
        spread=float((rates.max() - rates.min()) / tokens_per_s),
        ceiling_share=tokens_per_s * flops_per_token(built, training=True) / ceiling,
        padding=1 - sum(tokens) / run,
        peak_gb=memory_used_gb(device),
        reserved_gb=memory_reserved_gb(device),
        first_step_s=first,
        settings={
            "examples_per_step": trainer.num_examples,
            "token_budget": token_budget,
            "tokens_per_step": sum(tokens) / repeats / steps,
            "compiled": built.is_compiled,
            "optimizer": config.training.optimizer,
            "lora": config.lora.model_dump() if config.lora.use_lora else None,
            "times_s": times,
            "warm_up_steps": warm.rounds + 1,
            "warm_up_complete": warm.is_complete,
            "recorded_passes": trainer.optimizer_step.num_recorded,
        },
    )

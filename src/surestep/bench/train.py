"""Training speed: the trainer's own optimiser steps, loader and all, on given examples."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch

from surestep.bench.example_work import run_data
from surestep.bench.kernels import kernels_of
from surestep.bench.timing import Measurement, synchronize
from surestep.bench.warm_up import compiled_graphs, warm_until_nothing_new
from surestep.config import Config
from surestep.encoding.encoded_tree import EncodedTree
from surestep.scoring.build_model import BuiltModel
from surestep.scoring.hardware import memory_reserved_gb, memory_used_gb
from surestep.training.passes.recorded import records_passes
from surestep.training.processes import make_accelerator
from surestep.training.trainer import Trainer

MOST_ROUNDS = 4
"""Rounds of the same steps: the last of them is what counts, whether it met a new shape or not."""


def flops_per_token(built: BuiltModel, *, training: bool) -> int:
    """2 P forward; 2 P more for the input's gradient, and 2 P for the weights' own where they are trained.

    Of all layers, so that programs compare: what the last one leaves out counts as done.
    """
    if not training:
        return 2 * built.weights_in_products
    is_full = any(p.requires_grad for name, p in built.model.transformer.named_parameters() if "lora_" not in name)
    return (6 if is_full else 4) * built.weights_in_products


@dataclass
class _Round:
    """What was timed: of each repeat its seconds, tokens and labels; tokens with padding of all of them."""

    times: list[float]
    tokens: list[int]
    labels: list[int]
    tokens_run: int


def _timed_round(trainer: Trainer, *, warmup: int, steps: int, repeats: int) -> _Round:
    """The next steps of the trainer, the first `warmup` of them untimed."""
    device, found = trainer.built.hardware.device, _Round([], [], [], 0)
    with closing(trainer.bare_steps()) as stream:
        for _ in range(warmup):
            next(stream)
        for _ in range(repeats):
            synchronize(device)
            start = time.perf_counter()
            done = [next(stream).packs for _ in range(steps)]
            synchronize(device)
            found.times.append(time.perf_counter() - start)
            found.tokens.append(sum(step.num_tokens for step in done))
            found.labels.append(sum(sum(step.labels.values()) for step in done))
            found.tokens_run += sum(pack.num_tokens_run for step in done for pack in step.packs)
    return found


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
    profiled: int = 0,
) -> Measurement:
    """Time `repeats` times `steps` optimiser steps, in a round of the very same steps that met nothing new any more.

    So passes are recorded and compiled outside what is timed; `settings` say how many rounds that took, and whether
    the last one was still disturbed.

    The optimiser step draws, packs, moves, runs, clips and updates as in a run; logs, validation and checkpoints are
    left out. `ceiling` in floating-point operations a second; `warmup` are steps at the beginning of each round. With
    `profiled`, `settings` name as many kernels that take the time of one more repeat (`kernels_of`).
    """
    device = built.hardware.device
    on_gpu = device.type == "cuda"
    if warmup is None:
        warmup = 1 if on_gpu else 3
    config = config.model_copy(deep=True)
    config.training.max_steps = warmup + steps * repeats + 1
    if on_gpu:
        # What was measured before belongs to another row; its trainer refers to itself, so a collection ends it.
        gc.collect()
        torch.cuda.empty_cache()
        # Before the first pass: a recorded one takes its memory when it is recorded, and replays do not count again.
        torch.cuda.reset_peak_memory_stats(device)
    accelerator = make_accelerator(built.hardware)
    data = run_data(trees).training
    trainer = Trainer(
        config.training,
        built,
        data,
        accelerator=accelerator,
        token_budget=token_budget,
        recorded=records_passes(config.training, config.lora, built, accelerator, token_budget),
    )
    built.model.train()
    rounds: list[_Round] = []

    def start_again() -> None:
        trainer.view.state.step, trainer.view.state.drawn = 0, dict.fromkeys(data, 0)  # the same steps

    def one_round() -> None:
        start_again()
        rounds.append(_timed_round(trainer, warmup=warmup, steps=steps, repeats=repeats))

    synchronize(device)
    start = time.perf_counter()
    next(stream := trainer.bare_steps())
    stream.close()
    synchronize(device)
    first = time.perf_counter() - start
    warm = warm_until_nothing_new(
        one_round,
        lambda: trainer.optimizer_step.num_recorded + compiled_graphs(),
        fewest=2 if on_gpu else 1,
        quiet=1 if on_gpu else 0,
        most=MOST_ROUNDS,
    )
    kernels = None
    if profiled:
        start_again()
        with closing(trainer.bare_steps()) as stream:
            for _ in range(warmup):
                next(stream)
            kernels = kernels_of(lambda: [next(stream) for _ in range(steps)], device, profiled)
    last = rounds[-1]
    times, tokens, labels, run = last.times, last.tokens, last.labels, last.tokens_run
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
            "warm_up_rounds": warm.rounds,
            "warm_up_complete": warm.is_complete,
            "recorded_passes": trainer.optimizer_step.num_recorded,
        }
        | ({} if kernels is None else {"profile": kernels}),
    )

"""Training speed over the processes of a launch: the trainer's own optimiser steps on random weights and tokens.

    python benchmarks/several_gpus.py --shape 4b --preset lora                               # one GPU
    torchrun --standalone --nproc_per_node 4 benchmarks/several_gpus.py --shape 4b --preset lora
    torchrun --standalone --nproc_per_node 4 benchmarks/several_gpus.py --shape 4b --preset full --fsdp

Prints one line of JSON: tokens a second over all processes (the median over repeats), their spread, seconds of a step,
and the peak of each process's memory. Chains and trees are mixed, long with short, unless `--work` names one. Each
process gets the same number of examples as one alone, so that perfect growth is the number of processes. What is timed
are steps that all processes have gone through before, in a round in which none recorded or compiled anything.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import closing
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from surestep.bench.backbone_shapes import SHAPES, build_shape
from surestep.bench.example_work import bushy, chain, chain_lengths, run_data
from surestep.bench.timing import environment, synchronize
from surestep.bench.train import MOST_ROUNDS
from surestep.bench.warm_up import compiled_graphs, warm_until_nothing_new
from surestep.config import get_default_config, get_lora_config
from surestep.encoding.encoded_tree import EncodedTree, Nodes
from surestep.model.sharding import is_sharded
from surestep.scoring.hardware import choose_hardware, memory_used_gb
from surestep.training.passes.recorded import records_passes
from surestep.training.processes import group_closed, make_accelerator, together_with
from surestep.training.sharding.start import may_fuse_layers, shard_if_asked
from surestep.training.trainer import Trainer


class Trees(list[EncodedTree]):
    """Examples in memory, with what a store says of them."""

    def nodes(self, numbers: NDArray[np.int64]) -> Nodes:
        """As `TreeStore.nodes`."""
        trees = [self[int(number)] for number in numbers]
        counts = [tree.num_nodes for tree in trees]
        starts = np.cumsum([0, *counts])[:-1]
        parents = [np.where(t.parent_N >= 0, t.parent_N + start, -1) for t, start in zip(trees, starts, strict=True)]
        return Nodes(
            tree_N=np.repeat(np.arange(len(trees)), counts),
            length_N=np.concatenate([np.diff(tree.offsets) for tree in trees]),
            parent_N=np.concatenate(parents).astype(np.int64),
            label_N=np.concatenate([tree.label_N for tree in trees]),
            source_N=np.concatenate([tree.source_N for tree in trees]).astype(np.int64),
            num_trees=len(trees),
        )


def examples(work: str, count: int, *, num_ids: int, confidence_id: int) -> Trees:
    """Chains, trees, or every second a tree, drawn by a fixed seed."""
    random = np.random.default_rng(0)
    ids = {"num_ids": num_ids, "confidence_id": confidence_id}
    lengths = chain_lengths(count)
    return Trees(
        bushy(random, **ids) if work == "trees" or (work == "mixed" and number % 2) else chain(length, random, **ids)
        for number, length in enumerate(lengths)
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="small")
    parser.add_argument("--preset", choices=("lora", "full"), default="lora")
    parser.add_argument("--work", choices=("chains", "trees", "mixed"), default="mixed")
    parser.add_argument("--fsdp", action="store_true")
    parser.add_argument("--gradient_checkpointing", action="store_true")
    parser.add_argument(
        "--fused", action=argparse.BooleanOptionalAction, default=True, help="fuse layers where it goes"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--examples", type=int, default=64, help="in an optimiser step of each process (default: 64)")
    parser.add_argument("--token_budget", type=int, default=16384)
    parser.add_argument("--steps", type=int, default=4, help="optimiser steps in a repeat (default: 4)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=6)
    args = parser.parse_args()
    config = get_lora_config() if args.preset == "lora" else get_default_config()
    training = config.training
    training.warmup_steps, training.max_steps = 0, args.warmup + args.steps * args.repeats + 1
    training.per_device_train_batch_size, training.gradient_accumulation_steps = args.examples, 1
    training.fsdp, training.gradient_checkpointing = args.fsdp, args.gradient_checkpointing
    hardware = choose_hardware(args.device, "auto")
    accelerator = make_accelerator(hardware)
    hardware = replace(
        hardware, fuses_layers=args.fused and may_fuse_layers(training, config.lora, accelerator.num_processes)
    )
    with group_closed(accelerator):
        together = together_with(accelerator)
        built = build_shape(config, hardware, args.shape)
        num_ids = built.model.embedding.weight.shape[0]
        trees = examples(args.work, 4000, num_ids=num_ids, confidence_id=built.model.confidence_id)
        line = shard_if_asked(built, training, accelerator)
        if not is_sharded(built.model):
            built.compile_if_worth("auto", float("inf"))
        data = run_data(trees).training
        trainer = Trainer(
            training,
            built,
            data,
            accelerator=accelerator,
            token_budget=args.token_budget,
            recorded=records_passes(training, config.lora, built, accelerator, args.token_budget),
            together=together,
        )
        built.model.train()
        rates: list[float] = []
        seconds: list[float] = []

        def one_round() -> None:
            """The same steps each time; those of the last round count."""
            trainer.view.state.step, trainer.view.state.drawn = 0, dict.fromkeys(data, 0)
            rates.clear()
            seconds.clear()
            with closing(trainer.bare_steps()) as steps:
                for _ in range(args.warmup):
                    next(steps)
                for _ in range(args.repeats):
                    synchronize(hardware.device)
                    together.wait()
                    start = time.perf_counter()
                    tokens = sum(next(steps).num_tokens for _ in range(args.steps))
                    synchronize(hardware.device)
                    together.wait()
                    seconds.append((time.perf_counter() - start) / args.steps)
                    rates.append(tokens / seconds[-1] / args.steps)

        def made() -> int:
            """What all processes have recorded and compiled: they go on, and stop, together."""
            return int(together.summed([float(trainer.optimizer_step.num_recorded + compiled_graphs())])[0])

        on_gpu = hardware.device.type == "cuda"
        warm = warm_until_nothing_new(one_round, made, fewest=2 if on_gpu else 1, quiet=int(on_gpu), most=MOST_ROUNDS)
        peaks = [float(peak[0]) for peak in together.gathered(np.array([memory_used_gb(hardware.device)]))]
        if together.is_first:
            record = {
                "benchmark": "several_gpus",
                "processes": together.count,
                "sharded": is_sharded(built.model),
                "fused": built.model.is_fused,
                "compiled": built.is_compiled,
                "decided": line,
                "tokens_per_s": float(np.median(rates)),
                "spread": float((max(rates) - min(rates)) / np.median(rates)),
                "step_s": float(np.median(seconds)),
                "peak_gb": peaks,
                "warm_up_rounds": warm.rounds,
                "warm_up_complete": warm.is_complete,
                **{name: getattr(args, name) for name in ("shape", "preset", "work", "examples", "token_budget")},
                **environment(hardware),
            }
            print(json.dumps(record))


if __name__ == "__main__":
    main()

"""How cost grows, and with which exponent: with the backbone, chains, trees, candidates, rows of a file, processes.

    python benchmarks/growth.py                                            all parts, small sizes
    python benchmarks/growth.py --parts length tree candidates --device cuda --shape 4b
    python benchmarks/growth.py --parts backbone processes --device cuda --shape 4b
    python benchmarks/growth.py --parts dataset --rows 1000 10000 100000 1000000

`length`, `tree` and `candidates` run the functions of `surestep bench` on random weights, at constant tokens a pass;
`backbone` does so for one shape after the other. `dataset` is in `growth_dataset.py`. `processes` starts
`several_gpus.py` under torchrun; each process has the work of one alone, so that a step that takes as long as with one
has the exponent 0. Prints tables; between two columns stands the exponent, the slope of log cost over log size, and at
the end the slope of a line through all of them. 1 is linear.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import growth_dataset
import numpy as np
from growth_table import Growth, say, table

PARTS = ("backbone", "length", "tree", "candidates", "dataset", "processes")
OF_ONE_MODEL = ("length", "tree", "candidates")
SMALL = {
    "lengths": [256, 1024, 4096],
    "nodes": [4, 16, 64, 256],
    "counts": [1, 4, 16, 64],
    "rows": [1_000, 10_000, 100_000],
    "shapes": ["small", "135m"],
    "processes": [1, 2],
}
LARGE = {
    "lengths": [256, 1024, 4096, 16384, 32768],
    "nodes": [4, 16, 64, 256, 1024],
    "counts": [1, 4, 16, 64, 256],
    "rows": [1_000, 10_000, 100_000, 1_000_000],
    "shapes": ["135m", "0.6b", "1.7b", "4b", "8b"],
    "processes": [1, 2, 4],
}
TRAINING_PASS = {"cpu": 4096, "cuda": 16384}
SCORING_PASS = {"cpu": 4096, "cuda": 32768}
BACKBONE_PASS = {"cpu": 512, "cuda": 16384}
"""Tokens a pass, of training and of scoring, where shapes are compared: those of a large one take minutes on a CPU."""
MOST_ROW_TOKENS = {"cpu": 20_000, "cuda": 60_000}
"""Paths as rows are not run where one tree's paths hold more tokens."""


# --- length, tree, candidates


class Bench:
    """A model of a known shape, and the two measurements of `surestep bench` on any trees."""

    def __init__(self, args: argparse.Namespace, *, shape: str = "", tokens: int = 0) -> None:
        from surestep.bench.backbone_shapes import build_shape
        from surestep.bench.timing import environment, matmul_ceiling
        from surestep.config import get_lora_config
        from surestep.scoring.hardware import choose_hardware

        self.config = get_lora_config()
        self.config.training.warmup_steps = 0
        hardware = choose_hardware(args.device, "auto")
        self.kind: str = hardware.device.type
        self.ceiling = matmul_ceiling(hardware)
        self.built = build_shape(self.config, hardware, shape or args.shape)
        decision = self.built.compile_if_worth(self.config.model.compile, float("inf"))
        for line in [*self.built.reasons, *([decision] if decision else [])]:
            print(f"· {line}", file=sys.stderr)
        self.about = {"shape": shape or args.shape, "ceiling_tflops": self.ceiling / 1e12, **environment(hardware)}
        self.repeats = args.repeats
        self.training_pass = args.training_pass or tokens or TRAINING_PASS[self.kind]
        self.scoring_pass = args.scoring_pass or tokens or SCORING_PASS[self.kind]
        self.ids = {
            "num_ids": self.built.model.embedding.weight.shape[0],
            "confidence_id": self.built.model.confidence_id,
        }

    def training(self, trees: Sequence[Any], *, per_step: int) -> float:
        """Seconds for one of `trees`: the trainer's own step on `per_step` of them, loader included."""
        from surestep.bench.train import bench_training

        config = self.config.model_copy(deep=True)
        config.training.per_device_train_batch_size, config.training.gradient_accumulation_steps = per_step, 1
        measured = bench_training(
            "growth",
            self.built,
            config,
            trees,
            token_budget=self.training_pass,
            ceiling=self.ceiling,
            steps=1,
            repeats=self.repeats,
            warmup=2,
        )
        return mean_labels(trees) / measured.labels_per_s

    def scoring(self, trees: Sequence[Any]) -> float:
        """Seconds for one of `trees`."""
        from surestep.bench.score import bench_scoring

        scorer = self.built.scorer(self.config)
        scorer.token_budget = self.scoring_pass
        measured = bench_scoring("growth", self.built, scorer, trees, ceiling=self.ceiling, repeats=self.repeats)
        return mean_labels(trees) / measured.labels_per_s


def mean_labels(trees: Sequence[Any]) -> float:
    """Labelled steps of one tree; in what is measured here every step has a label."""
    return float(np.mean([tree.num_labels for tree in trees]))


def attempt(work: Callable[[], float], notes: list[str], what: str) -> float | None:
    """The measurement, or None and a note where memory does not suffice."""
    import torch

    from surestep.errors import DeviceError

    try:
        return work()
    except (torch.OutOfMemoryError, DeviceError) as error:
        notes.append(f"{what}: {str(error).splitlines()[0][:120]}")
        torch.cuda.empty_cache()
        return None


def measure_length(bench: Bench, lengths: list[int]) -> list[Growth]:
    """Chains of growing length, as many in a step as fill a pass."""
    from surestep.bench.example_work import chain

    random = np.random.default_rng(0)
    found = []
    for work, tokens in (("training", bench.training_pass), ("scoring", bench.scoring_pass)):
        costs: list[float | None] = []
        notes = [f"{tokens:,} tokens a pass; a longer chain is a pass of its own"]
        for length in lengths:
            per_pass = max(1, tokens // length)
            trees = [chain(length, random, **bench.ids) for _ in range(per_pass)]
            say(f"length {length:,}: {work}, {per_pass} a pass")
            run = (
                partial(bench.training, trees, per_step=per_pass)
                if work == "training"
                else partial(bench.scoring, trees)
            )
            costs.append(attempt(run, notes, f"{work}, {length:,} tokens"))
        rates = [None if cost is None else length / cost for length, cost in zip(lengths, costs, strict=True)]
        milliseconds = [None if cost is None else cost * 1000 for cost in costs]
        found.append(Growth("length", f"{work}, tokens/s", "1/s", lengths, rates, False))
        found.append(Growth("length", f"{work}, ms a chain", "ms", lengths, milliseconds, True, notes))
    return found


def measure_tree(bench: Bench, sizes: list[int], most_tokens: int) -> list[Growth]:
    """Problem trees of growing size, and the same steps as one row for each path."""
    from problem_trees import problem_tree

    from surestep.bench.example_work import paths_of

    random = np.random.default_rng(0)
    tokens: list[float | None] = []
    row_tokens: list[float | None] = []
    costs: dict[str, list[float | None]] = {
        f"{work}, {form}": [] for work in ("training", "scoring") for form in ("tree", "rows")
    }
    notes: dict[str, list[str]] = {name: [] for name in costs}
    for nodes in sizes:
        one = problem_tree(nodes, random, **bench.ids)
        per_step = max(1, bench.training_pass // one.num_tokens)
        trees = [one, *(problem_tree(nodes, random, **bench.ids) for _ in range(per_step - 1))]
        tokens.append(sum(tree.num_tokens for tree in trees) / len(trees))
        rows = [path for tree in trees for path in paths_of(tree)]
        row_tokens.append(sum(path.num_tokens for path in rows) / len(trees))
        say(f"{nodes} nodes: {len(trees)} trees of about {tokens[-1]:,.0f} tokens, {row_tokens[-1]:,.0f} as rows")
        for name, costs_here in costs.items():
            if name.endswith("rows") and (row_tokens[-1] or 0) > most_tokens:
                costs_here.append(None)
                notes[name].append(f"{nodes} nodes as rows: {row_tokens[-1]:,.0f} tokens a tree, not run")
                continue
            # A measured row is one path, so its cost counts as often as a tree has paths.
            work = trees if name.endswith("tree") else rows
            share = len(work) / len(trees)

            def run(work: list[Any] = work, share: float = share, name: str = name) -> float:
                if name.startswith("training"):
                    return bench.training(work, per_step=len(work)) * share
                return bench.scoring(work) * share

            costs_here.append(attempt(run, notes[name], f"{name}, {nodes} nodes"))
    found = [
        Growth("tree", "tokens of a tree", "", sizes, tokens),
        Growth("tree", "tokens of its paths as rows", "", sizes, row_tokens),
    ]
    for name, costs_here in costs.items():
        per_tree = [None if cost is None else cost * 1000 for cost in costs_here]
        per_label = [None if cost is None else cost / (n - 1) for cost, n in zip(per_tree, sizes, strict=True)]
        found.append(Growth("tree", f"{name}, ms a tree", "ms", sizes, per_tree, True, notes[name]))
        found.append(Growth("tree", f"{name}, ms a labelled step", "ms", sizes, per_label))
    return found


def measure_candidates(bench: Bench, counts: list[int]) -> list[Growth]:
    """N candidates of one problem, scored as one tree and as N rows."""
    from surestep.bench.example_work import candidates, paths_of

    random = np.random.default_rng(0)
    costs: dict[str, list[float | None]] = {"tree": [], "flat": []}
    notes: dict[str, list[str]] = {"tree": [], "flat": []}
    together = 64 if bench.kind == "cpu" else 128
    for count in counts:
        problems = max(1, together // count)
        trees = [candidates(count, random, **bench.ids) for _ in range(problems)]
        say(f"{count} candidates: {problems} problems at a time")
        works = {"tree": trees, "flat": [path for tree in trees for path in paths_of(tree)]}
        for name, work in works.items():
            cost = attempt(partial(bench.scoring, work), notes[name], f"{name}, {count} candidates")
            costs[name].append(None if cost is None else cost * 1000 * len(work) / problems)
    found = [
        Growth("candidates", f"{name}, ms a problem", "ms", counts, costs[name], True, notes[name]) for name in costs
    ]
    ratios = [flat / tree if flat and tree else None for flat, tree in zip(costs["flat"], costs["tree"], strict=True)]
    return [*found, Growth("candidates", "flat / tree", "", counts, ratios, False)]


def measure_backbone(args: argparse.Namespace, shapes: list[str]) -> list[Growth]:
    """One shape after the other, on chains of the usual mixed lengths."""
    from surestep.bench.example_work import chain, chain_lengths

    sizes: list[int] = []
    costs: dict[str, list[float | None]] = {"training (LoRA)": [], "scoring": []}
    notes: dict[str, list[str]] = {name: [] for name in costs}
    for shape in shapes:
        bench = Bench(args, shape=shape, tokens=BACKBONE_PASS["cpu" if device_of(args) == "cpu" else "cuda"])
        sizes.append(round(bench.built.weights_in_products / 1e6))
        for name, tokens in zip(costs, (bench.training_pass, bench.scoring_pass), strict=True):
            random = np.random.default_rng(0)
            lengths = chain_lengths(max(2, tokens // 235))
            trees = [chain(min(length, tokens), random, **bench.ids) for length in lengths]
            say(f"{shape}: {sizes[-1]:,} million weights in products, {name}, {tokens:,} tokens a pass")
            run = (
                partial(bench.scoring, trees)
                if name == "scoring"
                else partial(bench.training, trees, per_step=len(trees))
            )
            cost = attempt(run, notes[name], f"{name}, {shape}")
            mean = float(np.mean([tree.num_tokens for tree in trees]))
            costs[name].append(None if cost is None else cost / mean * 1e6)
        del bench
    return [Growth("backbone", f"{name}, µs a token", "µs", sizes, costs[name], True, notes[name]) for name in costs]


def measure_processes(args: argparse.Namespace, counts: list[int]) -> list[Growth]:
    """A step of one, two and more processes, each with the work of one alone."""
    program = str(Path(__file__).with_name("several_gpus.py"))
    kind = device_of(args)
    tokens = args.training_pass or (2048 if kind == "cpu" else TRAINING_PASS["cuda"])
    words = ["--shape", args.shape, "--device", kind, "--token_budget", str(tokens), "--repeats", str(args.repeats)]
    words += ["--examples", "8", "--steps", "1", "--warmup", "1"] if kind == "cpu" else []
    found = []
    for name, more in (
        ("LoRA, data parallel", ["--preset", "lora"]),
        ("full, sharded", ["--preset", "full", "--fsdp"]),
    ):
        steps: list[float | None] = []
        rates: list[float | None] = []
        notes: list[str] = []
        for count in counts:
            launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
            say(f"{count} processes: {name}")
            done = subprocess.run(
                [sys.executable, *launch, program, *words, *more], capture_output=True, text=True, check=False
            )
            line = next((line for line in done.stdout.splitlines() if line.startswith("{")), None)
            if line is None:
                last = (done.stderr.strip().splitlines() or ["no word"])[-1]
                notes.append(f"{count} processes, {name}: exit code {done.returncode}, {last[:120]}")
            result = {} if line is None else json.loads(line)
            steps.append(result.get("step_s"))
            rates.append(result.get("tokens_per_s"))
        found.append(Growth("processes", f"{name}: a step, the same work for each, s", "s", counts, steps, True, notes))
        found.append(Growth("processes", f"{name}: tokens/s of all", "1/s", counts, rates, False))
    return found


def device_of(args: argparse.Namespace) -> str:
    """`cpu` or `cuda`, as asked for or found."""
    import torch

    return str(args.device) if args.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def parse() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--shape", default="small", help="of `surestep bench --shape`, but for `backbone`")
    parser.add_argument("--shapes", nargs="+", help="backbones, from small to large")
    parser.add_argument("--processes", type=int, nargs="+", help="processes, one a GPU")
    parser.add_argument("--lengths", type=int, nargs="+", help="tokens of a chain")
    parser.add_argument("--nodes", type=int, nargs="+", help="nodes of a problem tree, the problem included")
    parser.add_argument("--counts", type=int, nargs="+", help="candidates of one problem")
    parser.add_argument("--rows", type=int, nargs="+", help="rows of a file")
    parser.add_argument("--repeats", type=int, default=3, help="of which the median counts (default: 3)")
    parser.add_argument("--training_pass", type=int, help="tokens in a training pass (default: 4096; GPU: 16384)")
    parser.add_argument("--scoring_pass", type=int, help="tokens in a scoring pass (default: 4096; GPU: 32768)")
    parser.add_argument("--row_steps", type=int, default=4, help="steps in one row of a file (default: 4)")
    parser.add_argument("--tokenizer", default="builtin:tiny", help="builtin:tiny or a folder, for the rows")
    parser.add_argument("--output", type=Path, metavar="FILE", help="append one JSON line for each row of the tables")
    args = parser.parse_args()
    from surestep.bench.backbone_shapes import SHAPES

    for shape in (args.shape, *(args.shapes or ())):
        if shape not in SHAPES:
            parser.error(f"no shape {shape!r}; allowed: {', '.join(SHAPES)}")
    return args


def main() -> None:
    """Measure the parts asked for."""
    args = parse()
    kind = device_of(args)
    bench = Bench(args) if set(args.parts) & set(OF_ONE_MODEL) else None
    sizes = {name: getattr(args, name) or (LARGE if kind == "cuda" else SMALL)[name] for name in SMALL}
    about: dict[str, Any] = {"cores": os.cpu_count(), "load": os.getloadavg()[0]} | (bench.about if bench else {})
    for part in args.parts:
        if part == "dataset":
            rows = growth_dataset.measure(args, args.rows or SMALL["rows"])
        elif part == "backbone":
            rows = measure_backbone(args, sizes["shapes"])
        elif part == "processes":
            rows = measure_processes(args, sizes["processes"])
        else:
            assert bench is not None
            if part == "length":
                rows = measure_length(bench, sizes["lengths"])
            elif part == "tree":
                rows = measure_tree(bench, sizes["nodes"], MOST_ROW_TOKENS[bench.kind])
            else:
                rows = measure_candidates(bench, sizes["counts"])
        print(table(rows) + "\n", flush=True)
        if args.output is not None:
            with args.output.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row.to_dict() | about) + "\n" for row in rows)


if __name__ == "__main__":
    main()

"""How cost grows with size, and with which exponent: chains, problem trees, candidates, and rows of a file.

    python benchmarks/growth.py                                            all parts, small sizes
    python benchmarks/growth.py --parts length tree candidates --device cuda --shape qwen3-4b
    python benchmarks/growth.py --parts dataset --rows 1000 10000 100000 1000000

`length`, `tree` and `candidates` run the functions of `surestep bench` on random weights, at constant tokens a pass.
`dataset` writes files in the user's own format and lets a fresh process read each, as a run does: first without a
cache, then from it. Prints tables; between two columns stands the exponent, the slope of log cost over log size, and at
the end the slope of a line through all of them. 1 is linear.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random as plain_random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

PARTS = ("length", "tree", "candidates", "dataset")
SMALL = {
    "lengths": [256, 1024, 4096],
    "nodes": [4, 16, 64, 256],
    "counts": [1, 4, 16, 64],
    "rows": [1_000, 10_000, 100_000],
}
LARGE = {
    "lengths": [256, 1024, 4096, 16384, 32768],
    "nodes": [4, 16, 64, 256, 1024],
    "counts": [1, 4, 16, 64, 256],
    "rows": [1_000, 10_000, 100_000, 1_000_000],
}
TRAINING_PASS = {"cpu": 4096, "cuda": 16384}
SCORING_PASS = {"cpu": 4096, "cuda": 32768}
MOST_ROW_TOKENS = {"cpu": 20_000, "cuda": 60_000}
"""Paths as rows are not run where one tree's paths hold more tokens."""


@dataclass
class Growth:
    """One measured quantity over sizes: a row of a table, and one line of JSON.

    Attributes:
        values: None where it was not run, or failed; `notes` says why.
        is_cost: exponents say something of it.
    """

    part: str
    name: str
    unit: str
    sizes: list[int]
    values: list[float | None]
    is_cost: bool = True
    notes: list[str] = field(default_factory=list)

    @property
    def exponents(self) -> list[float | None]:
        """Between each size and the next."""
        return [slope(self.sizes[i : i + 2], self.values[i : i + 2]) for i in range(len(self.sizes) - 1)]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        found = asdict(self)
        if self.is_cost:
            found |= {"exponents": self.exponents, "exponent": slope(self.sizes, self.values)}
        return found


def slope(sizes: Sequence[int], values: Sequence[float | None]) -> float | None:
    """Slope of the least-squares line of log value over log size; None where fewer than two were measured.

    >>> slope([1, 10, 100], [2.0, 20.0, 200.0])
    1.0
    """
    known = [(math.log(size), math.log(value)) for size, value in zip(sizes, values, strict=True) if value]
    if len(known) < 2:
        return None
    x, y = np.array(known).T
    return round(float(np.polyfit(x, y, 1)[0]), 6)


# --- length, tree, candidates


class Bench:
    """A model of a known shape, and the two measurements of `surestep bench` on any trees."""

    def __init__(self, args: argparse.Namespace) -> None:
        from surestep.bench.backbone_shapes import build_shape
        from surestep.bench.timing import environment, matmul_ceiling
        from surestep.config import get_lora_config
        from surestep.scoring.hardware import choose_hardware

        self.config = get_lora_config()
        self.config.training.warmup_steps = 0
        hardware = choose_hardware(args.device, "auto")
        self.kind: str = hardware.device.type
        self.ceiling = matmul_ceiling(hardware)
        self.built = build_shape(self.config, hardware, args.shape)
        decision = self.built.compile_if_worth(self.config.model.compile, float("inf"))
        for line in [*self.built.reasons, *([decision] if decision else [])]:
            print(f"· {line}", file=sys.stderr)
        self.about = {"shape": args.shape, "ceiling_tflops": self.ceiling / 1e12, **environment(hardware)}
        self.repeats = args.repeats
        self.training_pass = args.training_pass or TRAINING_PASS[self.kind]
        self.scoring_pass = args.scoring_pass or SCORING_PASS[self.kind]
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


# --- dataset


def write_rows(path: Path, rows: int, steps: int) -> None:
    """`rows` records in the user's own format: sums, every tenth about the problem of a row somewhere before it."""
    random = plain_random.Random(0)
    draw = random.randrange
    with path.open("w", encoding="utf-8") as file:
        for row in range(rows):
            number = draw(row) if row % 10 == 9 else row
            written = [
                {
                    "text": f"{number} + {random.randrange(1000)} = {random.randrange(10**6)}",
                    "confidence": random.random(),
                }
                for _ in range(steps)
            ]
            problem = f"start {number}; add 3; sub 17; add {number % 97}; which number stands in the register?"
            file.write(json.dumps({"problem": problem, "steps": written}) + "\n")


class Memory:
    """Resident memory of this process, looked at every few milliseconds: what it holds itself, and mapped files.

    Where the system does not tell the two apart (it does on Linux), all counts as held.
    """

    def __init__(self) -> None:
        self.peak_held = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @staticmethod
    def now() -> tuple[float, float]:
        """MB held and MB mapped from files."""
        try:
            lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
            kibibytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith("Rss")}
            return kibibytes["RssAnon"] * 1024 / 1e6, kibibytes["RssFile"] * 1024 / 1e6
        except (OSError, KeyError):
            return psutil.Process().memory_info().rss / 1e6, 0.0

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self.peak_held = max(self.peak_held, self.now()[0])

    @contextmanager
    def watched(self) -> Any:
        """Look until the block ends."""
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join()
            self.peak_held = max(self.peak_held, self.now()[0])


def read_once(args: argparse.Namespace) -> dict[str, float]:
    """What one process does with a file: tokenise (or find it done), prepare the run's data, draw and pack steps."""
    import gc

    from surestep.config import Config
    from surestep.data.sources.choose import enabled_sources
    from surestep.encoding.formatter import Formatter
    from surestep.encoding.load_tokenizer import load_tokenizer
    from surestep.scoring.stored_split import prepare_source
    from surestep.training.mixture import Mixture
    from surestep.training.step_data import prefetch_steps
    from surestep.training.training_sets import load_run_data

    config = Config()
    config.data.use_prm800k = config.data.use_eqasc = config.data.use_reveal = config.data.use_arithmetic = False
    config.data.use_own, config.data.own_train, config.data.cache_dir = True, args.read, args.cache
    tokenizer, formatter = load_tokenizer(args.tokenizer), Formatter()
    tokenizer.encode(["the tokenizer's own threads and caches belong to the start"] * 64)
    gc.collect()
    before = Memory.now()[0]
    found: dict[str, float] = {}
    with Memory().watched() as memory:
        start = time.perf_counter()
        for split in ("train", "validation"):
            for source in enabled_sources(config.data, split, seed=config.training.seed):
                prepare_source(source, tokenizer, formatter, cache_dir=args.cache)
        found["prepare_s"] = time.perf_counter() - start
        start = time.perf_counter()
        data = load_run_data(config, tokenizer, formatter, max_positions=None)
        found["open_s"] = time.perf_counter() - start
        found["read_peak_mb"] = max(memory.peak_held, Memory.now()[0]) - before
        start = time.perf_counter()
        mixture = Mixture({"own": 1.0}, {"own": len(data.training["own"])}, seed=0)
        steps = prefetch_steps(
            mixture, data.training, {"own": 1.0}, first_step=0, last_step=201, num_examples=16, token_budget=4096
        )
        next(steps)
        found["first_pack_s"] = time.perf_counter() - start
        start = time.perf_counter()
        done = sum(1 for _ in steps)
        found["steps_per_s"] = done / (time.perf_counter() - start)
        gc.collect()
        held, mapped = Memory.now()
    found |= {
        "start_mb": before,
        "peak_mb": memory.peak_held - before,
        "steady_mb": held - before,
        "mapped_mb": mapped,
        "examples": len(data.training["own"]),
        "tokens": data.training["own"].store.num_tokens,
    }
    return found


def measure_dataset(args: argparse.Namespace, sizes: list[int]) -> list[Growth]:
    """Files of growing size, each read by a fresh process without a cache, and by another one from it."""
    runs: dict[str, list[dict[str, float]]] = {"first": [], "second": []}
    for rows in sizes:
        with tempfile.TemporaryDirectory() as name:
            file, cache = Path(name) / "train.jsonl", Path(name) / "cache"
            write_rows(file, rows, args.row_steps)
            say(f"{rows:,} rows, {file.stat().st_size / 1e6:,.1f} MB")
            command = [
                sys.executable,
                __file__,
                "--read",
                str(file),
                "--cache",
                str(cache),
                "--tokenizer",
                args.tokenizer,
            ]
            for which, results in runs.items():
                # The reader's temporary files go beside the cache, on a disk.
                environment = os.environ | {"TMPDIR": name}
                output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
                results.append(json.loads(output.splitlines()[-1]))
                say(f"  {which}: {output.splitlines()[-1]}")

    def row(name: str, unit: str, which: str, *keys: str, is_cost: bool = True) -> Growth:
        values: list[float | None] = [sum(run[key] for key in keys) for run in runs[which]]
        return Growth("dataset", name, unit, sizes, values, is_cost)

    return [
        row("first run: read and tokenise", "s", "first", "prepare_s"),
        row("first run: the rest of start-up", "s", "first", "open_s"),
        row("second run: open", "s", "second", "prepare_s", "open_s"),
        row("second run: to the first packed step", "s", "second", "first_pack_s"),
        row("steps packed a second", "1/s", "second", "steps_per_s", is_cost=False),
        row("before anything is read", "MB", "first", "start_mb", is_cost=False),
        row("first run: peak above that", "MB", "first", "peak_mb"),
        row("second run: peak above that", "MB", "second", "peak_mb"),
        row("second run: steady above that", "MB", "second", "steady_mb"),
        row("mapped files (given back when asked)", "MB", "second", "mapped_mb", is_cost=False),
    ]


# --- tables


def say(text: str) -> None:
    """Progress, apart from the tables."""
    print(text, file=sys.stderr, flush=True)


def table(rows: Sequence[Growth]) -> str:
    """A Markdown table of one part: a value a size, exponents between them below, the overall one last."""
    sizes = rows[0].sizes
    unit = {"length": "tokens", "tree": "nodes", "candidates": "candidates", "dataset": "rows"}[rows[0].part]
    lines = [f"| {rows[0].part} | " + " | ".join(f"{size:,} {unit}" for size in sizes) + " | exponent |"]
    lines.append("|" + "---|" * (len(sizes) + 2))
    for row in rows:
        steps = [f" (^{value:.2f})" if value is not None else "" for value in row.exponents] if row.is_cost else []
        cells = [shown(value) + (steps[i - 1] if i and steps else "") for i, value in enumerate(row.values)]
        overall = slope(row.sizes, row.values) if row.is_cost else None
        lines.append(f"| {row.name} | " + " | ".join(cells) + f" | {'' if overall is None else f'{overall:.2f}'} |")
    return "\n".join([*lines, *(f"- {note}" for row in rows for note in row.notes)])


def shown(value: float | None) -> str:
    """Three figures or so."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def parse() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--shape", choices=("small", "qwen3-4b"), default="small")
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
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure the parts asked for; as `--read`, be the process that is measured."""
    args = parse()
    if args.read is not None:
        print(json.dumps(read_once(args)))
        return
    bench = Bench(args) if set(args.parts) - {"dataset"} else None
    defaults = LARGE if bench is not None and bench.kind == "cuda" else SMALL
    about: dict[str, Any] = {"cores": os.cpu_count(), "load": os.getloadavg()[0]} | (bench.about if bench else {})
    for part in args.parts:
        if part == "dataset":
            rows = measure_dataset(args, args.rows or SMALL["rows"])
        else:
            assert bench is not None
            if part == "length":
                rows = measure_length(bench, args.lengths or defaults["lengths"])
            elif part == "tree":
                rows = measure_tree(bench, args.nodes or defaults["nodes"], MOST_ROW_TOKENS[bench.kind])
            else:
                rows = measure_candidates(bench, args.counts or defaults["counts"])
        print(table(rows) + "\n", flush=True)
        if args.output is not None:
            with args.output.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row.to_dict() | about) + "\n" for row in rows)


if __name__ == "__main__":
    main()

"""How the cost of a data file grows with its rows: reading, tokenising, opening, packing, memory (for `growth.py`).

Writes files in the user's own format and lets a fresh process, which is this file, read each as a run does: first
without a cache, then from it.
"""

from __future__ import annotations

import argparse
import json
import os
import random as plain_random
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from growth_table import Growth, say


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


def measure(args: argparse.Namespace, sizes: list[int]) -> list[Growth]:
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


def main() -> None:
    """Be the process that is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--read", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--tokenizer", required=True)
    print(json.dumps(read_once(parser.parse_args())))


if __name__ == "__main__":
    main()

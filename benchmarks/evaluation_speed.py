"""How long the evaluation of a large predictions file takes, and how much memory.

    python benchmarks/evaluation_speed.py [--steps 100000] [--datasets 3] [--resamples 1000]

Writes a made-up file (problems of about 12 steps, soft labels, several datasets), runs `surestep evaluate
--predictions` on it with its default intervals, without fitted baselines and the page, and prints one JSON line:
wall-clock and processor seconds and the peak of memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def write_file(path: Path, steps: int, datasets: int) -> None:
    """Rows as `predictions.jsonl` has them, without texts."""
    random = np.random.default_rng(0)
    problem = np.sort(random.integers(0, max(steps // 12, 2), steps))
    ability = random.beta(4, 2, problem.max() + 1)[problem]
    confidence = np.clip(ability + random.normal(0, 0.15, steps), 0, 1)
    label = (random.random(steps) < ability).astype(float)
    label[random.random(steps) < 0.15] = 0.5
    first = np.searchsorted(problem, problem)
    with path.open("w", encoding="utf-8") as file:
        for row in range(steps):
            values = {
                "dataset": f"data{problem[row] % datasets}",
                "problem_id": f"p{problem[row]}",
                "position": int(row - first[row]) + 1,
                "confidence": float(confidence[row]),
                "label": float(label[row]),
            }
            file.write(json.dumps(values) + "\n")


def main() -> None:
    """Run once and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--datasets", type=int, default=3)
    parser.add_argument("--resamples", type=int, default=1000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "predictions.jsonl"
        write_file(path, args.steps, args.datasets)
        command = [sys.executable, "-m", "surestep.cli.main", "evaluate", "--predictions", str(path)]
        command += ["--bootstrap_resamples", str(args.resamples), "--baselines", "false", "--report", "false"]
        started = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wall = time.monotonic() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = {
        "steps": args.steps,
        "datasets": args.datasets,
        "resamples": args.resamples,
        "wall_s": round(wall, 1),
        "processor_s": round(used.ru_utime + used.ru_stime, 1),
        "peak_memory_gib": round(used.ru_maxrss / 2**20, 2),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()

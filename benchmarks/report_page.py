"""Time and size of the report of a large predictions file.

    python benchmarks/report_page.py --steps 100000

Makes chains of 2 to 44 steps of 8 to 60 words over three datasets (seeded), evaluates the file without and with the
page, and prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from surestep.evaluation.evaluate import evaluate_predictions
from surestep.evaluation.report.write import report_on_folder

TEXT = "so the sum of both sides gives that each term is divided by a factor hence x equals the area of a triangle"
WORDS = TEXT.split()
DATASETS = (("first", 0.6, 45), ("second", 0.25, 9), ("third", 0.15, 9))
"""Name, share of the problems, most steps."""


def write(path: Path, num_steps: int, seed: int) -> int:
    """Write at least `num_steps` rows; returns how many."""
    rng = np.random.default_rng(seed)
    count = problem = 0
    with path.open("w", encoding="utf-8") as file:
        while count < num_steps:
            name, _, most = DATASETS[int(rng.choice(len(DATASETS), p=[share for _, share, _ in DATASETS]))]
            text = " ".join(rng.choice(WORDS, 40))
            for step in range(int(rng.integers(2, most))):
                logit = rng.normal(1.2 - 0.06 * step, 1.6)
                row = {
                    "dataset": name,
                    "problem_id": f"p{problem}",
                    "step": step,
                    "parent": step - 1,
                    "position": step + 1,
                    "confidence": float(1 / (1 + np.exp(-1.3 * logit - rng.normal(0, 0.5)))),
                    "label": float(rng.random() < 1 / (1 + np.exp(-logit))),
                    "problem": text,
                    "text": " ".join(rng.choice(WORDS, int(rng.integers(8, 60)))),
                }
                file.write(json.dumps(row) + "\n")
                count += 1
            problem += 1
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "predictions.jsonl"
        num_steps = write(path, args.steps, args.seed)
        started = time.monotonic()
        evaluate_predictions(path, output_dir=folder)
        evaluated = time.monotonic()
        written = report_on_folder(folder)
        print(
            json.dumps(
                {
                    "steps": num_steps,
                    "predictions_mb": round(path.stat().st_size / 1e6, 1),
                    "evaluate_s": round(evaluated - started, 1),
                    "report_s": round(time.monotonic() - evaluated, 1),
                    "report_mb": round(written.page.path.stat().st_size / 1e6, 2),
                    "plots": len(written.page.plots),
                    "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
                }
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Scored steps as `predictions.jsonl` holds them, made by a known scorer, for the tests of the report."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

ATTACK = "<script>document.title = 'broken'</script><img src=x onerror=\"document.title='broken'\"> & \"'`"
"""What no page may run, and every page must show."""


def make_rows(
    num_problems: int, *, datasets: tuple[str, ...] = ("first", "second"), seed: int = 0
) -> list[dict[str, Any]]:
    """Chains of 3 to 6 steps whose label is drawn with a probability that the confidence is near to."""
    rng = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for number in range(num_problems):
        for step in range(rng.randint(3, 6)):
            logit = rng.gauss(0.5, 2.0)
            rows.append(
                {
                    "dataset": datasets[number % len(datasets)],
                    "problem_id": f"p{number}",
                    "step": step,
                    "parent": step - 1,
                    "position": step + 1,
                    "confidence": 1 / (1 + math.exp(-logit - rng.gauss(0, 0.5))),
                    "label": float(rng.random() < 1 / (1 + math.exp(-logit))),
                    "problem": f"Problem {number}: what is {number} + {number}?",
                    "text": f"Step {step + 1} of problem {number} says {rng.randint(0, 99)} [{number}.{step}].",
                }
            )
    return rows


def write_predictions(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write `rows`, one a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path

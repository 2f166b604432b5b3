"""Mutations of files: bytes and values of JSON, and small valid documents of each kind to begin with."""

from __future__ import annotations

import json
import random
from typing import Any

VALUES: list[Any] = [None, True, -1, 2**70, 10**299, 1e308, "", "<script>", "\x1b[2J", "0.5"]
VALUES += ["\ud800", "$\\frac{", "\x1b]52;c;eA==\x07", "\u202eabc", "../../x", "a\nb|`c`", "x" * 300]
VALUES += [[], {}, [[[]]], {"a": {"a": 1}}]


def mutated_bytes(content: bytes, rng: random.Random) -> bytes:
    """Cut, flipped, doubled, filled or with a piece of something else."""
    strange = rng.choice([b"\0", b"\xff", b"[" * 2_000, b"9" * 6_000, b"NaN", b"{", b'"'])
    where, other = rng.randrange(len(content)), rng.randrange(len(content))
    first, last = sorted((where, other))
    return rng.choice(
        [
            content[:where],
            content[:where] + bytes([content[where] ^ (1 << rng.randrange(8))]) + content[where + 1 :],
            content[:first] + content[first:last] * 2 + content[last:],
            content[:first] + content[last:],
            content[:where] + strange + content[where:],
        ]
    )


def mutated_values(values: Any, rng: random.Random) -> Any:
    """One value somewhere within replaced, left out, or put under another name."""
    if isinstance(values, dict) and values and rng.random() < 0.8:
        name = rng.choice(list(values))
        rest = {key: value for key, value in values.items() if key != name}
        kind = rng.random()
        if kind < 0.15:
            return rest
        if kind < 0.25:
            return rest | {f"{name}x": values[name]}
        return {**values, name: mutated_values(values[name], rng)}
    if isinstance(values, list) and values and rng.random() < 0.8:
        index = rng.randrange(len(values))
        return [*values[:index], mutated_values(values[index], rng), *values[index + 1 :]]
    return rng.choice(VALUES)


def predictions(rng: random.Random) -> str:
    rows = [
        {"dataset": "a", "problem_id": f"p{n}", "problem": f"{n}?", "step": 0, "parent": -1, "position": 1, "text": "x"}
        | {"confidence": rng.random(), "label": float(n % 2), "num_ratings": 1}
        for n in range(6)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


STATE = {"step": 3, "drawn": {"own": 4}, "best": {"step": 2, "metric": "nll", "value": 0.5}, "best_seen": 0.5}
STATE |= {"tokens": 5, "labels": 6, "seconds": 1.0, "scaler": {"scale": 2.0}, "sources": {"own train": "x"}}
STATE |= {"interval": {"losses": [1.0], "weights": [1.0], "tokens": 1, "labels": {"own": 1}, "seconds": 0.1}}
CALIBRATION = {
    "format_version": 1,
    "pooled": {"kind": "isotonic", "points": [0.1, 0.5], "values": [0.2, 0.6], "clip": 0.01},
    "datasets": {"own": {"kind": "platt", "slope": 1.0, "intercept": 0.0}},
    "about": {"data": ["own"]},
}
FIGURES = {
    "split": "test",
    "step": 3,
    "checkpoint": "x/checkpoint_step_3",
    "overall": {"num_steps": 4, "num_problems": 2, "mse": 0.1, "intervals": {"mse": {"low": 0.0, "high": 0.2}}},
    "per_dataset": {"own": {"num_steps": 4, "num_problems": 2, "mse": 0.1, "reliability": {"a": [{"count": 1}]}}},
}
HEADER = {"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}
HEADER |= {"b": {"dtype": "BF16", "shape": [4], "data_offsets": [16, 24]}}


def safetensors(values: Any) -> bytes:
    header = json.dumps(values).encode()
    return len(header).to_bytes(8, "little") + header + b"\0" * 24

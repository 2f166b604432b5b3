"""Seeded mutations of every file that is read: a valid result or one line, never another exception."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runs import write_own
from surestep.calibration.calibration import Calibration
from surestep.config import Config
from surestep.data.records.record import read_records
from surestep.errors import SurestepError
from surestep.evaluation.results.find import read_evaluation
from surestep.evaluation.results.run_files import find_run
from surestep.model.tensor_headers import tensor_shapes
from surestep.scoring.checkpoint.calibration_file import read_calibration
from surestep.scoring.predictions_file import read_predictions
from surestep.training.run_state import read_state

MUTATIONS = 30
"""For each kind of file; eleven kinds."""

VALUES: list[Any] = [None, True, -1, 2**70, 10**299, 1e308, "", "<script>", "\x1b[2J", "0.5"]
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


def read_all(path: Path) -> None:
    for _ in read_records(path):
        pass


def read_run(path: Path) -> None:
    find_run({"checkpoint": str(path.parent)}, path.parent)


JSON_FILES: dict[str, tuple[str, Any, Callable[[Path], object]]] = {
    "configuration": ("c.json", Config().to_dict(), Config.from_file),
    "training state": ("state.json", STATE, lambda path: read_state(path.parent)),
    "calibration": ("calibration.json", CALIBRATION, lambda path: read_calibration(path.parent)),
    "figures": ("eval_metrics.json", FIGURES, lambda path: read_evaluation(path, name="x")),
    "manifest beside a report": ("manifest.json", {"step": 3, "backbone": {"name": "x"}}, read_run),
}


def tried(read: Callable[[Path], object], path: Path) -> bool:
    """Whether it was refused; what is no error of ours fails the test."""
    try:
        read(path)
    except SurestepError:
        return True
    return False


def test_what_is_mutated_was_valid(tmp_path: Path) -> None:
    for name, values, read in JSON_FILES.values():
        (tmp_path / name).write_text(json.dumps(values))
        assert not tried(read, tmp_path / name), name
    assert Calibration.from_json(CALIBRATION)


@pytest.mark.parametrize("kind", JSON_FILES)
def test_mutated_documents(kind: str, tmp_path: Path) -> None:
    rng = random.Random(kind)
    name, values, read = JSON_FILES[kind]
    path = tmp_path / name
    refused = 0
    for number in range(2 * MUTATIONS):
        content = json.dumps(mutated_values(values, rng)).encode()
        path.write_bytes(mutated_bytes(content, rng) if number % 2 else content)
        refused += tried(read, path)
    assert refused or kind == "manifest beside a report"


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "jsonl.gz"])
def test_mutated_data_files(suffix: str, tmp_path: Path) -> None:
    rng = random.Random(suffix)
    content = write_own(tmp_path / "own.jsonl", 5, seed=1).read_bytes()
    if suffix == "csv":
        content = b"a,b\n" + b'1,"x y"\n' * 20
    path = tmp_path / f"a.{suffix}"
    refused = 0
    for number in range(MUTATIONS):
        mutated = mutated_bytes(content, rng)
        if suffix.endswith("gz"):
            mutated = mutated_bytes(gzip.compress(content), rng) if number % 2 else gzip.compress(mutated)
        path.write_bytes(mutated)
        refused += tried(read_all, path)
    assert refused


def test_mutated_predictions(tmp_path: Path) -> None:
    rng = random.Random(5)
    path = tmp_path / "predictions.jsonl"
    refused = 0
    for number in range(2 * MUTATIONS):
        lines = predictions(rng).splitlines()
        where = rng.randrange(len(lines))
        lines[where] = json.dumps(mutated_values(json.loads(lines[where]), rng))
        content = "\n".join(lines).encode()
        path.write_bytes(mutated_bytes(content, rng) if number % 2 else content)
        refused += tried(read_predictions, path)
    assert refused


def test_mutated_headers_of_tensors(tmp_path: Path) -> None:
    rng = random.Random(6)
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors(HEADER))
    assert tensor_shapes(path) == {"a": (2, 2), "b": (4,)}
    refused = 0
    for number in range(2 * MUTATIONS):
        content = safetensors(mutated_values(HEADER, rng) if number % 2 else HEADER)
        path.write_bytes(content if number % 2 else mutated_bytes(content, rng))
        refused += tried(tensor_shapes, path)
    assert refused > MUTATIONS

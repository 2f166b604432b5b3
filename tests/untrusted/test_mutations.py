"""Seeded mutations of every file that is read: a valid result or one line, never another exception."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mutations import CALIBRATION, FIGURES, HEADER, STATE, mutated_bytes, mutated_values, predictions, safetensors
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

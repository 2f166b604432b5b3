"""Small runs of training: their data, and what they left behind in comparable form."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from surestep.training.events import TrainingEvents

DATA_FLAGS = ("--use_prm800k", "false", "--use_eqasc", "false", "--use_own", "true")


def write_own(path: Path, count: int, *, seed: int, offset: int = 0) -> Path:
    """Sums with alternatives, hard, neutral, soft and missing labels, some of them long."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        left, right = rng.randint(1, 99), rng.randint(1, 99)
        steps: list[dict[str, Any]] = [
            {
                "text": f"add {left} and {right}",
                "confidence": rng.choice([0.0, 0.5, 1.0, 0.3]),
                "alternatives": [
                    {"text": f"it is {left - right}", "confidence": 0.0},
                    {"text": f"double {left}", "confidence": round(rng.random(), 2)},
                ],
            },
            {"text": "then simplify", "confidence": None},
        ]
        steps += [
            {"text": f"so {left + right + extra}", "confidence": float(extra == 0)}
            for extra in range(rng.randint(1, 4))
        ]
        rows.append({"problem": f"{offset + number}: what is {left} + {right}?", "steps": steps})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def count_labels(path: Path) -> int:
    """Labelled steps of a file in our own layout, counted without the reader."""
    count = 0
    for line in path.read_text(encoding="utf-8").splitlines():
        for step in json.loads(line)["steps"]:
            count += step.get("confidence") is not None
            count += sum(other["confidence"] is not None for other in step.get("alternatives", []))
    return count


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file, plain or compressed."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in content.decode("utf-8").splitlines()]


def logged(experiment: Path) -> dict[str, list[Any]]:
    """What `metrics.jsonl` must hold again after a resume: everything but speeds, notes and checkpoints."""
    lines = read_lines(experiment / "metrics.jsonl")
    steps = [line for line in lines if line["kind"] == "step"]
    return {
        "losses": [(line["step"], line["loss"], line["grad_norm"], line["learning_rate"]) for line in steps],
        "labels": [line["labels"] for line in steps],
        "validations": [
            (line["step"], line["value"], line["mean"], line["is_best"])
            for line in lines
            if line["kind"] == "validation"
        ],
    }


def tensors(checkpoint: Path) -> dict[str, Any]:
    """Every tensor of a checkpoint, training state included, by file and key."""
    from safetensors.torch import load_file

    return {
        f"{path.relative_to(checkpoint)}:{key}": value
        for path in sorted(checkpoint.rglob("*.safetensors"))
        for key, value in load_file(path).items()
    }


def assert_same_bits(left: Path, right: Path) -> None:
    """Two checkpoints hold the same tensors, to the bit, and the same position in the run."""
    import torch

    mine, theirs = tensors(left), tensors(right)
    assert mine.keys() == theirs.keys()
    different = [name for name in mine if not torch.equal(mine[name], theirs[name])]
    assert different == []
    states = [json.loads((folder / "training_state" / "state.json").read_text()) for folder in (left, right)]
    for state in states:
        del state["seconds"]
        state["interval"].pop("seconds", None)
    assert states[0] == states[1]


def hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file below `folder`, by path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class Watcher(TrainingEvents):
    """A listener that keeps everything it is told, and calls `at[step]` when that step is done."""

    def __init__(self, at: dict[int, Callable[[], None]] | None = None) -> None:
        self.at = at or {}
        self.events: list[tuple[str, Any]] = []

    def of(self, kind: str) -> list[Any]:
        """The values of one kind of event."""
        return [value for name, value in self.events if name == kind]

    def say(self, line: str) -> None:
        self.events.append(("say", line))

    def started(self, run: Any) -> None:
        self.events.append(("started", (run.state.step, run.max_steps)))

    def step_done(self, done: Any) -> None:
        self.events.append(("stepped", done.step))
        if done.step in self.at:
            self.at[done.step]()

    def logged(self, record: Any) -> None:
        self.events.append(("logged", record))

    def validated(self, record: Any) -> None:
        self.events.append(("validated", record))

    def saved(self, folder: Path) -> None:
        self.events.append(("saved", folder))

    def finished(self) -> None:
        self.events.append(("finished", None))

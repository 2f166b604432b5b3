"""What resuming needs beside the weights: optimiser moments and where the run stood.

Randomness needs no state: every optimiser step seeds its own (`seed_step`), and the mixture follows from the seed
and from how much was drawn. Tensors go to safetensors, the rest to JSON; nothing is pickled.
"""

from __future__ import annotations

import errno
import json
import random
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from surestep.errors import CheckpointError
from surestep.model.saved_weights import read_tensors
from surestep.training.optimizer.saved_moments import moments_to_tensors, tensors_to_moments

OPTIMIZER_FILE = "optimizer.safetensors"
STATE_FILE = "state.json"


@dataclass
class RunState:
    """Where a run stands after `step` optimiser steps.

    Attributes:
        drawn: examples that each dataset has given.
        best: the best validation among saved checkpoints: `step`, `metric`, `value`; empty before the first.
        best_seen: the best value of any validation, for early stopping.
        validations_without_better: validations since then.
        validations_diverged: validations in a row that were far worse than a constant.
        validation_due: whether a signal cut the validation of this step short, so that it is still to be done.
        tokens, labels, seconds: worked off so far, over all processes.
        scaler: the loss scaler's state under fp16.
        sources: fingerprint of each source that decides the run's data, by dataset and split.
        interval: steps since the last log line (`Interval.to_dict`), so that the log of a resumed run is the same.
    """

    step: int = 0
    drawn: dict[str, int] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)
    best_seen: float | None = None
    validations_without_better: int = 0
    validations_diverged: int = 0
    validation_due: bool = False
    tokens: int = 0
    labels: int = 0
    seconds: float = 0.0
    scaler: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    interval: dict[str, Any] = field(default_factory=dict)


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed every generator for one optimiser step of one process.

    So a resumed step draws the dropout of an uninterrupted one, whatever ran between them.
    """
    mixed = int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0])
    torch.manual_seed(mixed)
    random.seed(mixed)
    np.random.seed(mixed % 2**32)


def save_state(folder: Path, state: RunState, optimizer: torch.optim.Optimizer, names: dict[int, str]) -> None:
    """Write optimiser and run state; `names` gives each parameter's name by its `id`.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    try:
        save_file(moments_to_tensors(optimizer, names), folder / OPTIMIZER_FILE)
    except SafetensorError as error:
        # safetensors reports a full disk as an error of its own kind.
        raise OSError(errno.ENOSPC, str(error), str(folder)) from None
    (folder / STATE_FILE).write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")


def load_state(folder: Path, optimizer: torch.optim.Optimizer, names: dict[int, str]) -> RunState:
    """Fill the optimiser and return the run state.

    Raises:
        CheckpointError: a moment is missing, unexpected, of another shape or of another optimiser.
    """
    path = folder / OPTIMIZER_FILE
    tensors_to_moments(optimizer, names, read_tensors(path), path=path)
    return read_state(folder)


def read_state(folder: Path) -> RunState:
    """The run state alone.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    try:
        return RunState(**json.loads((folder / STATE_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder / STATE_FILE} cannot be read ({error})") from None

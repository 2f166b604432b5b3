"""What resuming needs beside the weights: optimiser moments and where the run stood.

Randomness needs no state: every optimiser step seeds its own (`seed_step`), and the mixture follows from the seed
and from how much was drawn. Tensors go to safetensors, the rest to JSON; nothing is pickled.
"""

from __future__ import annotations

import errno
import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, NotRequired

import numpy as np
import torch
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from typing_extensions import TypedDict

from surestep.errors import CheckpointError
from surestep.model.saved_weights import read_tensors
from surestep.training.optimizer.averaged_weights import RAW_FILE
from surestep.training.optimizer.saved_moments import moments_to_tensors, places_of_moments, tensors_to_moments
from surestep.training.sharding.state import RAW, SHARDED_FOLDER, is_sharded_state, names_in_shards, read_shards
from surestep.untrusted import checked, checked_record, place_inside, read_json

OPTIMIZER_FILE = "optimizer.safetensors"
STATE_FILE = "state.json"


_Count = Annotated[int, Field(ge=0, lt=2**53)]


class _Best(TypedDict):
    """The best validation among saved checkpoints."""

    __pydantic_config__ = ConfigDict(strict=True, extra="allow")  # type: ignore[misc]
    step: _Count
    metric: NotRequired[str]
    value: float | None


class _Interval(TypedDict):
    """Steps since the last log line (`training.events.log.Interval`)."""

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")  # type: ignore[misc]
    losses: Annotated[list[float], Field(max_length=10**6)]
    weights: NotRequired[Annotated[list[float], Field(max_length=10**6)]]
    tokens: _Count
    labels: dict[str, _Count]
    seconds: float


def _check_best(values: dict[str, Any]) -> dict[str, Any]:
    if values:
        checked(values, _BEST)
    return values


def _check_scaler(values: dict[str, Any]) -> dict[str, Any]:
    """`torch.amp.GradScaler.state_dict`: numbers by name."""
    checked(values, _SCALER)
    return values


def _check_interval(values: dict[str, Any]) -> dict[str, Any]:
    if values and len(values.get("weights", values.get("losses", ()))) != len(checked(values, _INTERVAL)["losses"]):
        raise ValueError("an interval has as many weights as losses")
    return values


_BEST: TypeAdapter[_Best] = TypeAdapter(_Best)
_SCALER: TypeAdapter[dict[str, float]] = TypeAdapter(
    dict[Annotated[str, Field(max_length=100)], Annotated[float, Field(strict=True)]]
)
_INTERVAL: TypeAdapter[_Interval] = TypeAdapter(_Interval)


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

    step: _Count = 0
    drawn: dict[str, _Count] = field(default_factory=dict)
    best: Annotated[dict[str, Any], AfterValidator(_check_best)] = field(default_factory=dict)
    best_seen: float | None = None
    validations_without_better: _Count = 0
    validations_diverged: _Count = 0
    validation_due: bool = False
    tokens: _Count = 0
    labels: _Count = 0
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    scaler: Annotated[dict[str, Any], AfterValidator(_check_scaler)] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    interval: Annotated[dict[str, Any], AfterValidator(_check_interval)] = field(default_factory=dict)


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed every generator for one optimiser step of one process.

    So a resumed step draws the dropout of an uninterrupted one, whatever ran between them.
    """
    mixed = int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0])
    # As `torch.manual_seed`, which where no GPU is used keeps, for one used later, who called it: milliseconds a step.
    torch.default_generator.manual_seed(mixed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(mixed)
    random.seed(mixed)
    np.random.seed(mixed % 2**32)


def save_state(
    folder: Path,
    state: RunState,
    optimizer: torch.optim.Optimizer,
    names: dict[int, str],
    *,
    raw_weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write optimiser and run state.

    Args:
        folder: the training state's.
        state: where the run stands.
        optimizer: whose moments are written.
        names: each parameter's name by its `id`.
        raw_weights: the trained weights, where the checkpoint's own are an average of them.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    try:
        save_file(moments_to_tensors(optimizer, names), folder / OPTIMIZER_FILE)
        if raw_weights is not None:
            tensors = {name: weight.detach().contiguous().cpu() for name, weight in raw_weights.items()}
            save_file(tensors, folder / RAW_FILE)
    except SafetensorError as error:
        # safetensors reports a full disk as an error of its own kind.
        raise OSError(errno.ENOSPC, str(error), str(folder)) from None
    write_state(folder, state)


def write_state(folder: Path, state: RunState) -> None:
    """Write the run state alone."""
    (folder / STATE_FILE).write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")


def load_state(folder: Path, optimizer: torch.optim.Optimizer, names: dict[int, str]) -> RunState:
    """Fill the optimiser and return the run state, whether it was written in shards or not.

    Raises:
        CheckpointError: a moment is missing, unexpected, of another shape or of another optimiser.
    """
    if is_sharded_state(folder):
        shapes = {name: shape for name, shape in names_in_shards(folder).items() if not name.startswith(RAW)}
        places = places_of_moments(optimizer, names, shapes, path=folder / SHARDED_FOLDER)
        read_shards(folder, places)
    else:
        path = folder / OPTIMIZER_FILE
        tensors_to_moments(optimizer, names, read_tensors(path), path=path)
    return read_state(folder)


def read_state(folder: Path) -> RunState:
    """The run state alone.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    try:
        return checked_record(read_json(place_inside(folder, STATE_FILE), allow_nan=True), RunState)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        mend = "remove that checkpoint, and --resume goes on from the one before it"
        raise CheckpointError(f"{folder / STATE_FILE} cannot be read ({reason}); {mend}") from None

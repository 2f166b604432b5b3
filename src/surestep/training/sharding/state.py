"""The training state of a sharded run: each process writes its shards, and any number of processes reads them.

PyTorch's distributed checkpoints (DCP) over safetensors: `training_state/sharded/shard-<rank>-model-*.safetensors`,
each with the moments (and under `ema_decay` the raw weights) of the rows that one process held, and in its header where
those rows lie in the whole. There is no other file: nothing is pickled, and nothing unpickled.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor

from surestep.errors import CheckpointError
from surestep.model.tensor_headers import tensor_shapes

SHARDED_FOLDER = "sharded"
"""In a training state: the moments, where they were sharded."""
RAW = "raw_weights/"
"""What the names of raw weights begin with."""


def is_sharded_state(folder: Path) -> bool:
    """Whether a training state was written by a sharded run."""
    return (folder / SHARDED_FOLDER).is_dir()


def write_shards(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Write this process's rows of `tensors` into `folder`, which is there; all processes of the run write theirs.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    try:
        save(dict(tensors), storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))
    except CheckpointException as error:
        reasons = [failure for failure, _trace in error.failures.values() if isinstance(failure, OSError)]
        raise reasons[0] if reasons else OSError(str(error)) from None


def names_in_shards(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name and whole shape of each tensor of a sharded training state.

    Raises:
        CheckpointError: a file is damaged, or there is none.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    place = folder / SHARDED_FOLDER
    files = sorted(place.glob("*.safetensors"))
    for file in files:
        tensor_shapes(file)
    if not files:
        raise CheckpointError(f"{place} holds no shards; restore it from a backup")
    try:
        found = HuggingFaceStorageReader(str(place)).read_metadata().state_dict_metadata
        return {name: tuple(entry.size) for name, entry in found.items()}  # type: ignore[union-attr]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise CheckpointError(f"{place} cannot be read ({_words(error)}); restore it from a backup") from None


def read_shards(folder: Path, places: dict[str, Tensor]) -> None:
    """Fill `places`, sharded over any number of processes or not at all, from a training state; all processes read.

    Raises:
        CheckpointError: a shard is missing or damaged.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    place = folder / SHARDED_FOLDER
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # one process reads alone
            load(dict(places), storage_reader=HuggingFaceStorageReader(str(place)))
    except (CheckpointException, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{place} cannot be read ({_words(error)}); restore it from a backup") from None


def _words(error: BaseException) -> str:
    """What an error says, in a short line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

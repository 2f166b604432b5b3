"""A run's checkpoints, whole or not at all; of sharded weights all processes of the run write one together.

Those weights are put together and written by the main process, so that whatever reads checkpoints reads these; moments
stay in shards (`state`). The main process makes the folder beside its place, tells the others, waits for their shards,
hashes all files and renames it: one that is killed before leaves nothing that counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor

from surestep.files import storage_errors
from surestep.model.sharding import is_sharded, whole_weights
from surestep.scoring.build_model import BuiltModel
from surestep.scoring.spread.together import Together
from surestep.training.optimizer_step import OptimizerStep
from surestep.training.run_state import RunState, write_state
from surestep.training.sharding.state import SHARDED_FOLDER, write_shards


class Saves(Protocol):
    """Writes a checkpoint (`save_checkpoint`, the run's own facts filled in)."""

    def __call__(
        self,
        folder: Path,
        *,
        step: int,
        write_state: Callable[[Path], None] | None = None,
        whole: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Write it to `folder`."""
        ...


def write_checkpoint(
    optimizer_step: OptimizerStep, built: BuiltModel, together: Together, save: Saves, folder: Path, state: RunState
) -> None:
    """Write a checkpoint to `folder` with `save`; of sharded weights every process must, and all are in place then.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
        ProcessesError: another process has gone.
    """
    with optimizer_step.averaged_weights():
        if is_sharded(built.model):
            _write_together(optimizer_step, built, together, save, folder, state)
        else:
            save(folder, step=state.step, write_state=lambda path: optimizer_step.save_state(path, state))


def _write_together(
    optimizer_step: OptimizerStep, built: BuiltModel, together: Together, save: Saves, folder: Path, state: RunState
) -> None:
    shards = optimizer_step.shards()
    weights = whole_weights(built.model, keep=together.is_first)

    def fill_state(path: Path) -> None:
        place = path / SHARDED_FOLDER
        place.mkdir()
        together.told(str(place))
        write_shards(place, shards)
        write_state(path, state)

    if together.is_first:
        save(folder, step=state.step, write_state=fill_state, whole=weights)
    else:
        place = Path(together.told(None))
        with storage_errors(place, "every process must reach the folder of --output_dir, and have space there"):
            write_shards(place, shards)
    together.wait()

"""What a run begins from: pretrained weights, a checkpoint, or where it stopped; and the lock of its folder.

Refuses what can be refused before any data is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from surestep.config import Config
from surestep.lock import locked
from surestep.scoring.checkpoint.load import read_config
from surestep.scoring.checkpoint.manifest import Manifest, read_manifest
from surestep.scoring.evaluation_file import standing_result
from surestep.scoring.hardware import Hardware, nf4_device
from surestep.training.experiment_folder import refuse_existing, restore_folder
from surestep.training.optimizer.adamw_8bit import check_8bit_optimizer
from surestep.training.optimizer.averaged_weights import check_same_average
from surestep.training.phases.same_phases import check_same_phases
from surestep.training.processes import is_main_process
from surestep.training.run_state import read_state
from surestep.training.same_data import check_same_data, deciding_sources, fingerprints
from surestep.training.start.resume_point import ResumePoint, find_resume_point


@dataclass(frozen=True)
class Origin:
    """What a run begins from.

    Attributes:
        start: the checkpoint whose weights are taken; None: the pretrained backbone.
        resume_from: the same, where its position in the run is taken too.
        manifest: of that checkpoint, verified.
        sources: fingerprint of each source that decides the run's data.
        changed: a line, where the data are not those that the run was started with, and that was accepted.
        point: where a resumed run goes on.
        found: lines about what was found in the folder and done about it.
    """

    start: Path | None
    resume_from: Path | None
    manifest: Manifest | None
    sources: dict[str, str]
    changed: str | None
    point: ResumePoint | None = None
    found: tuple[str, ...] = ()

    @property
    def step(self) -> int:
        """Optimiser steps that were done before."""
        return self.manifest.step if self.manifest is not None and self.resume_from is not None else 0

    def lines(self) -> list[str]:
        """What the user should know of it."""
        if self.resume_from is None:
            return list(self.found)
        return [*self.found, f"resuming from {self.resume_from} at step {self.step}", *said_of(self.changed)]


def find_origin(
    config: Config, hardware: Hardware, *, resume: bool, overwrite: bool, accept_changed_data: bool
) -> Origin:
    """Find it, and refuse what can be refused before any data is read."""
    folder = config.experiment_dir
    point = find_resume_point(folder) if resume else None
    resume_from = None if point is None else point.checkpoint
    if resume_from is None:
        refuse_existing(folder, overwrite=overwrite)
        standing_result(config.validation_dir)  # refuses a file of that name that its own would replace
    nf4_device(config.lora, hardware)  # raises where a GPU or a library that it needs is missing
    if config.training.optimizer == "adamw_8bit":
        check_8bit_optimizer()
    start = resume_from or config.training.init_from
    manifest = None if start is None else read_manifest(start, with_state=resume_from is not None)
    sources = deciding_sources(config.data, config.data_of_phases(), seed=config.training.seed)
    changed = None
    if resume_from is not None and manifest is not None:
        check_same_average(resume_from / "training_state", config.training.ema_decay)
        check_same_phases(read_config(resume_from).phases, config.phases, step=manifest.step)
        started_with = read_state(resume_from / "training_state").sources
        changed = check_same_data(resume_from, started_with, sources, accept=accept_changed_data)
    said = () if point is None else point.said
    return Origin(start, resume_from, manifest, fingerprints(sources), changed, point, said)


@contextmanager
def locked_folder(folder: Path) -> Iterator[tuple[str, ...]]:
    """Hold the lock of a run's folder, put in order; gives lines about what was found."""
    advice = "wait until it has ended, stop it, or choose another --experiment_name"
    with locked(folder, command="surestep train", advice=advice) as said:
        yield (*said_of(said), *restore_folder(folder))


def resumed_config(folder: Path) -> Config:
    """The configuration that the run in `folder` was started with.

    Raises:
        CheckpointError: there is nothing to resume from.
        LockedError: another process works in the run's folder.
    """
    if not is_main_process():  # the main one holds the lock
        return read_config(find_resume_point(folder).checkpoint)
    with locked_folder(folder):
        return read_config(find_resume_point(folder).checkpoint)


def said_of(line: str | None) -> list[str]:
    """A line that there may be, as a list of those that there are."""
    return [] if line is None else [line]

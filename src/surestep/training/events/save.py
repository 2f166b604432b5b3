"""Checkpoints: written by rhythm and at a stop, the best one marked, those beyond the limit deleted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from accelerate import Accelerator

from surestep.files import BEST
from surestep.scoring.checkpoint.find import checkpoint_path
from surestep.training.events import RunView, TrainingEvents
from surestep.training.events.records import StepDone, ValidationRecord
from surestep.training.events.validate import is_better
from surestep.training.experiment_folder import prune, write_best
from surestep.training.processes import share
from surestep.training.run_state import RunState
from surestep.training.schedule import Rhythm


@dataclass(eq=False)
class Save(TrainingEvents):
    """Writes checkpoints into `folder`.

    Attributes:
        folder: the experiment's.
        write: writes one into a folder, its training state included.
        all_write: whether every process writes its part, in place of the main one alone.
        keep: checkpoints besides the best one; None: all.
    """

    rhythm: Rhythm
    accelerator: Accelerator
    folder: Path
    write: Callable[[Path, RunState], None]
    keep: int | None
    all_write: bool = False
    _validation: ValidationRecord | None = field(default=None, init=False)

    def started(self, run: RunView) -> None:
        self._run = run
        if run.state.best and self.accelerator.is_main_process:
            # A run killed right behind its checkpoint has not marked it yet.
            write_best(self.folder, run.state.best)
        elif self.accelerator.is_main_process:
            # It was marked beyond the checkpoint that the run goes on from.
            (self.folder / BEST).unlink(missing_ok=True)
        if run.last_saved is not None:
            self._prune()  # nor has it removed what its last checkpoint made superfluous

    def validated(self, record: ValidationRecord) -> None:
        self._validation = record

    def step_resumed(self) -> None:
        self._save_if_due()

    def step_done(self, done: StepDone) -> None:
        self._save_if_due()

    def _save_if_due(self) -> None:
        run = self._run
        # A diverged model is kept only where a checkpoint is due, or where there would be none at all.
        is_kept = run.stop_reason is not None and (run.stop_reason != "diverged" or run.last_saved is None)
        if self.rhythm.is_saving(run.state.step) or run.save_requested or is_kept:
            self._save()

    def saving(self, state: RunState) -> None:
        # A stop on a signal saves without validating, or the run that goes on would not be the uninterrupted one.
        if self._validation is not None and self._validation.step == state.step:
            _mark_best(state, self._validation)
        if self.accelerator.scaler is not None:
            state.scaler = self.accelerator.scaler.state_dict()

    def _save(self) -> None:
        run, state = self._run, self._run.state
        run.saving()
        folder = checkpoint_path(self.folder, state.step)
        if self.accelerator.is_main_process or self.all_write:
            self.write(folder, state)
        if self.accelerator.is_main_process and state.best:
            write_best(self.folder, state.best)
        run.saved(folder)
        self._prune()
        share(self.accelerator, state, "best")

    def _prune(self) -> None:
        if self.accelerator.is_main_process:
            for line in prune(self.folder, keep=self.keep, best_step=self._run.state.best.get("step")):
                self._run.say(line)


def _mark_best(state: RunState, record: ValidationRecord) -> None:
    if is_better(record.value, state.best.get("value"), record.metric):
        state.best = {
            "step": state.step,
            "checkpoint": f"checkpoint_step_{state.step}",
            "metric": record.metric,
            "value": record.value,
            "mean": record.mean,
        }

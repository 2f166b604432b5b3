"""What happens around the training loop: logs, validation, checkpoints, stopping.

    for packs in steps:
        done = one optimiser step
        for event in events: event.step_done(done)
        stop where one asked for it

The order of events is a contract: first the listeners from outside (a bar, the log files), which thus hear of a step
before its consequences; then `Log`, which refuses a diverged loss; `Validate`; `Stop`, after the validation, so that a
signal during it stops this very step; and `Save` last, so that whoever stops the run leaves a checkpoint, without a
validation of its own. Events talk through `RunView`, never to each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from surestep.training.events.records import StepDone, StepRecord, ValidationRecord

if TYPE_CHECKING:
    from surestep.training.run_state import RunState

StopReason = Literal["signal", "patience", "diverged"]


class TrainingEvents:
    """Told what happens in a run, in order; every hook does nothing by default.

    Built-in events run on every process, for they decide together; listeners from outside on the main one only.
    """

    def started(self, run: RunView) -> None:
        """The run is about to begin, or to find that it has ended before."""

    def say(self, line: str) -> None:
        """Something that the user should know once."""

    def step_done(self, done: StepDone) -> None:
        """An optimiser step is done."""

    def step_resumed(self) -> None:
        """The run goes on from a step whose validation a signal cut short: do what that step still owes."""

    def logged(self, record: StepRecord) -> None:
        """A logging interval is over; main process only."""

    def validated(self, record: ValidationRecord) -> None:
        """A validation is done; main process only."""

    def saving(self, state: RunState) -> None:
        """A checkpoint is about to be written: put into `state` what resuming needs of this event."""

    def saved(self, folder: Path) -> None:
        """A checkpoint is in place."""

    def finished(self) -> None:
        """No more steps will run, whatever the reason."""

    def reported(self, report: Mapping[str, Any], *, step: int, best_step: int) -> None:
        """The checkpoint of `best_step` was measured on the whole validation set, after the run's last step, `step`."""


@dataclass
class RunView:
    """A run as its events see it, and what they may ask of it.

    Attributes:
        state: where the run stands; events keep in it what must survive a resume.
        max_steps: the optimiser step at which it ends.
        events: all of them, in their order.
        phase: name of the phase that the step last done belongs to; None where the run has no phases.
        last_saved: the last checkpoint, if there is one.
        stop_reason: why it stops after this step; None while it goes on.
        save_requested: whether a checkpoint is asked for at this step, besides the regular ones.
        is_told_to_stop: whether a signal has come to this process; what takes long asks it again and again.
    """

    state: RunState
    max_steps: int
    events: Sequence[TrainingEvents] = field(default=())
    phase: str | None = None
    last_saved: Path | None = None
    stop_reason: StopReason | None = None
    save_requested: bool = False
    is_told_to_stop: Callable[[], bool] = field(default=lambda: False)

    def request_stop(self, reason: StopReason) -> None:
        """End the run after this step, with a checkpoint; the first reason counts."""
        self.stop_reason = self.stop_reason or reason

    def request_save(self) -> None:
        """Write a checkpoint at this step, whatever the rhythm."""
        self.save_requested = True

    def say(self, line: str) -> None:
        """Tell every event a line for the user."""
        for event in self.events:
            event.say(line)

    def logged(self, record: StepRecord) -> None:
        """Tell every event that a logging interval is over."""
        for event in self.events:
            event.logged(record)

    def validated(self, record: ValidationRecord) -> None:
        """Tell every event that a validation is done."""
        for event in self.events:
            event.validated(record)

    def saving(self) -> None:
        """Let every event put into `state` what resuming needs of it."""
        for event in self.events:
            event.saving(self.state)

    def saved(self, folder: Path) -> None:
        """Tell every event that a checkpoint is in place."""
        self.last_saved, self.save_requested = folder, False
        for event in self.events:
            event.saved(folder)

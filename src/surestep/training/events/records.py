"""What a run tells the outside while it goes on; the command line shows it, the log files keep it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class StepRecord:
    """One logging interval, ending after optimiser step `step`.

    Attributes:
        loss: mean loss over the interval's steps, in nats for `bce`.
        learning_rate: of the interval's last step.
        grad_norm: before clipping, of the last step.
        tokens_per_s: tokens through the backbone a second, shared prefixes counted once.
        labels_per_s: labelled steps a second.
        memory_gb: peak GPU memory, or resident memory on a CPU; 1e9 bytes.
        labels: labels of each dataset in the interval.
    """

    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens_per_s: float
    labels_per_s: float
    memory_gb: float
    labels: dict[str, int]


@dataclass(frozen=True)
class ValidationRecord:
    """One validation: mean over datasets of each figure, and the figures of each dataset."""

    step: int
    metric: str
    value: float
    mean: dict[str, float | None]
    per_dataset: dict[str, dict[str, Any]]
    is_best: bool


class TrainingObserver(Protocol):
    """Told what happens in a run, in order. Only the main process calls."""

    def say(self, line: str) -> None:
        """Something that the user should know once."""

    def started(self, *, first_step: int, max_steps: int) -> None:
        """The first optimiser step is about to run."""

    def stepped(self, step: int) -> None:
        """An optimiser step is done."""

    def logged(self, record: StepRecord) -> None:
        """A logging interval is over."""

    def validated(self, record: ValidationRecord) -> None:
        """A validation is done."""

    def saved(self, folder: Path) -> None:
        """A checkpoint is in place."""

    def finished(self) -> None:
        """No more steps will run, whatever the reason."""


class Observers:
    """Several observers as one."""

    def __init__(self, *observers: TrainingObserver) -> None:
        self.observers = observers

    def say(self, line: str) -> None:
        for observer in self.observers:
            observer.say(line)

    def started(self, *, first_step: int, max_steps: int) -> None:
        for observer in self.observers:
            observer.started(first_step=first_step, max_steps=max_steps)

    def stepped(self, step: int) -> None:
        for observer in self.observers:
            observer.stepped(step)

    def logged(self, record: StepRecord) -> None:
        for observer in self.observers:
            observer.logged(record)

    def validated(self, record: ValidationRecord) -> None:
        for observer in self.observers:
            observer.validated(record)

    def saved(self, folder: Path) -> None:
        for observer in self.observers:
            observer.saved(folder)

    def finished(self) -> None:
        for observer in self.observers:
            observer.finished()

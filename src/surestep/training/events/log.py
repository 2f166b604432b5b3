"""What happened since the last log line, averaged; and the refusal of a loss that is no number.

An interval may be cut in two by a checkpoint and a resume, so it goes to disk and back without losing a digit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from surestep.errors import SurestepError
from surestep.scoring.hardware import memory_used_gb
from surestep.training.events import RunView, TrainingEvents
from surestep.training.events.records import StepDone, StepRecord
from surestep.training.phases.plan import TrainingPhase, phase_at
from surestep.training.run_state import RunState
from surestep.training.schedule import Rhythm


@dataclass
class Interval:
    """Sums since the last log line; losses stay on the device until they are read together.

    Attributes:
        losses: loss of each step, scalars; on this process.
        weights: sum of the weights of each step's labels, on this process; NaN where it is not known.
        tokens: tokens through the backbone, over all processes.
        labels: labels of each dataset, over all processes.
        seconds: spent in training.
    """

    losses: list[Tensor] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    tokens: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, done: StepDone) -> None:
        """Count one optimiser step."""
        self.losses.append(done.loss)
        self.weights.append(done.packs.weight)
        self.tokens += done.num_tokens
        self.seconds += done.seconds
        for name, count in done.labels.items():
            self.labels[name] = self.labels.get(name, 0) + count

    def to_dict(self, losses: list[float], weights: list[float]) -> dict[str, Any]:
        """JSON-ready, with `losses` and `weights` (summed over all processes) in place of this process's own.

        A float survives as a JSON number to the bit.
        """
        return {
            "losses": losses,
            "weights": weights,
            "tokens": self.tokens,
            "labels": self.labels,
            "seconds": self.seconds,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, device: torch.device, is_main: bool) -> Interval:
        """The interval that a checkpoint cut short; its sums go to the main process, zeros to the others."""
        if not values:
            return cls()
        losses = [torch.tensor(loss if is_main else 0.0, device=device) for loss in values["losses"]]
        known = values.get("weights", [math.nan] * len(losses))
        weights = [weight if is_main else 0.0 for weight in known]
        return cls(losses, weights, values["tokens"], dict(values["labels"]), values["seconds"])


@dataclass(eq=False)
class Log(TrainingEvents):
    """Averages the steps of an interval and hands them to the listeners; refuses what is not finite.

    Attributes:
        rhythm: when the run logs, validates and saves.
        phases: of the run; the one where training diverged says what to change.
    """

    rhythm: Rhythm
    accelerator: Accelerator
    device: torch.device
    phases: Sequence[TrainingPhase]
    _interval: Interval = field(default_factory=Interval, init=False)

    def started(self, run: RunView) -> None:
        self._run = run
        is_main = self.accelerator.is_main_process
        self._interval = Interval.from_dict(run.state.interval, device=self.device, is_main=is_main)

    def step_done(self, done: StepDone) -> None:
        self._interval.add(done)
        if self.rhythm.is_logging(done.step):
            self._log(done)
        elif self.rhythm.is_validating(done.step):
            self._check_finite(done, float(done.loss))

    def saving(self, state: RunState) -> None:
        interval = self._interval
        losses, weights = self._summed(interval) if interval.losses else (torch.zeros(0), torch.zeros(0))
        state.interval = interval.to_dict(losses.tolist(), weights.tolist())

    def _log(self, done: StepDone) -> None:
        interval, self._interval = self._interval, Interval()
        losses, weights = self._summed(interval)
        loss = float(losses.mean())
        per_label = float(losses.double().sum() / weights.sum())
        self._run.state.seconds += interval.seconds
        self._check_finite(done, loss)
        if self.accelerator.is_main_process:
            self._run.logged(
                StepRecord(
                    step=done.step,
                    loss=loss,
                    learning_rate=done.learning_rates.get("backbone", done.learning_rates.get("head", 0.0)),
                    grad_norm=float(done.grad_norm),
                    tokens_per_s=interval.tokens / interval.seconds,
                    labels_per_s=sum(interval.labels.values()) / interval.seconds,
                    memory_gb=memory_used_gb(self.device),
                    labels=interval.labels,
                    loss_per_label=per_label if math.isfinite(per_label) else None,
                    learning_rates=dict(done.learning_rates),
                )
            )

    def _summed(self, interval: Interval) -> tuple[Tensor, Tensor]:
        """Loss of each step of the interval and the weight of its labels, each summed over the processes."""
        losses = torch.stack(interval.losses)
        weights = torch.tensor(interval.weights, dtype=torch.float64, device=losses.device)
        if self.accelerator.num_processes > 1:
            losses, weights = (self.accelerator.reduce(values, "sum") for values in (losses, weights))
        return losses, weights

    def _check_finite(self, done: StepDone, loss: float) -> None:
        """Raise before broken weights are validated or saved; under fp16 the scaler skips a broken gradient."""
        broken = "loss" if not math.isfinite(loss) else "gradient"
        if broken == "gradient" and (self.accelerator.scaler is not None or math.isfinite(float(done.grad_norm))):
            return
        value = loss if broken == "loss" else float(done.grad_norm)
        kept = f"; the last good checkpoint is {self._run.last_saved}" if self._run.last_saved else ""
        raise SurestepError(
            f"the {broken} is {value} at step {done.step}: training diverged; "
            f"{phase_at(self.phases, done.step - 1).calmer()}, or lengthen the warmup{kept}"
        )

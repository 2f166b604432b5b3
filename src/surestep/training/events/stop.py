"""A clean stop: by a signal, because validation no longer improves, or because training diverged.

Always at a step boundary.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator

from surestep.training.events import RunView, TrainingEvents
from surestep.training.events.records import StepDone

VALIDATIONS_DIVERGED = 2
"""Validations in a row beyond the bound after which a run has diverged: a single one may be a passing swing."""

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """Ctrl-C or SIGTERM, once it has come.

    Attributes:
        received: the first signal, or None so far.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.received: signal.Signals | None = None
        self._say = say
        self._previous: dict[signal.Signals, Any] = {}

    def catch(self) -> None:
        """From now on the first signal is only remembered; a second one ends the program at once."""
        # Outside of the main thread, whoever started it there handles signals.
        with suppress(ValueError):
            self._previous = {number: signal.signal(number, self._receive) for number in _NUMBERS}

    def release(self) -> None:
        """Signals do again what they did before."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        # The signal may have come in the middle of a write to the same stream, which Python refuses to enter twice.
        with suppress(RuntimeError):
            self._say(f"{self.received.name}: finishing this step and saving; a second signal quits at once")


class Stop(TrainingEvents):
    """Asks the run to stop.

    Args:
        patience: validations without a better one that a run survives; None: any number.
        validations_diverged: so many in a row beyond the bound end the run.

    Attributes:
        signal: what was caught, once the run has started.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        *,
        device: torch.device,
        patience: int | None,
        validations_diverged: int = VALIDATIONS_DIVERGED,
    ) -> None:
        self._accelerator = accelerator
        self._device = device
        self._patience = patience
        self._validations_diverged = validations_diverged
        self.signal = StopSignal(lambda _line: None)

    def started(self, run: RunView) -> None:
        self._run = run
        self.signal = StopSignal(run.say)
        self.signal.catch()
        if run.state.validations_diverged >= self._validations_diverged:
            run.state.validations_diverged = 0  # whoever resumes has changed something: that gets its chance
        self._look_at_patience()  # a run whose patience ran out stays stopped when it is resumed

    def step_done(self, done: StepDone) -> None:
        if self._run.state.validations_diverged >= self._validations_diverged:
            self._run.request_stop("diverged")
        self._look_at_patience()
        if self._any_process_was_told():
            self._run.request_stop("signal")

    def finished(self) -> None:
        self.signal.release()

    def _look_at_patience(self) -> None:
        if self._patience is not None and self._run.state.validations_without_better >= self._patience:
            self._run.request_stop("patience")

    def _any_process_was_told(self) -> bool:
        """Whether any process was told to stop: all of them leave the loop at the same step."""
        stopping = self.signal.received is not None
        if self._accelerator.num_processes > 1:
            flag = torch.tensor(float(stopping), device=self._device)
            stopping = bool(self._accelerator.reduce(flag, "sum") > 0)
        return stopping

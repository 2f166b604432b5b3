"""A clean stop: by a signal, because validation no longer improves, or because training diverged.

Always at a step boundary.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from surestep.scoring.spread.together import Together
from surestep.stop_signals import Interrupted, catch_signals, forget_terminals, open_terminals, release_signals
from surestep.training.events import RunView, TrainingEvents
from surestep.training.events.records import StepDone

VALIDATIONS_DIVERGED = 2
"""Validations in a row beyond the bound after which a run has diverged: a single one may be a passing swing."""


class StopSignal:
    """Ctrl-C, SIGTERM or SIGHUP, once it has come.

    Attributes:
        received: the first signal, or None so far.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.received: signal.Signals | None = None
        self._say = say
        self._previous: dict[signal.Signals, Any] = {}
        self._terminals: list[int] = []

    def catch(self) -> None:
        """From now on the first signal is only remembered; a second one ends the program at once."""
        self._terminals = open_terminals()
        self._previous = catch_signals(self._receive)

    def release(self) -> None:
        """Signals do again what they did before."""
        release_signals(self._previous)
        self._previous = {}

    def _receive(self, number: signal.Signals, first: signal.Signals) -> None:
        if number.name == "SIGHUP":
            forget_terminals(self._terminals)
        if self.received is not None:
            raise Interrupted(self.received)
        self.received = first
        # The signal may have come in the middle of a write to the same stream, which Python refuses to enter twice;
        # with SIGHUP the terminal may be gone.
        with suppress(RuntimeError, OSError):
            self._say(f"{self.received.name}: finishing this step and saving; a second signal quits at once")


@dataclass(eq=False)
class Stop(TrainingEvents):
    """Asks the run to stop.

    Attributes:
        together: the processes of the run.
        patience: validations without a better one that a run survives; None: any number.
        validations_diverged: so many in a row beyond the bound end the run.
        signal: what was caught, once the run has started.
    """

    together: Together
    patience: int | None
    validations_diverged: int = VALIDATIONS_DIVERGED
    signal: StopSignal = field(default_factory=lambda: StopSignal(lambda _line: None), init=False)

    def started(self, run: RunView) -> None:
        self._run = run
        self.signal = StopSignal(run.say)
        self.signal.catch()
        run.is_told_to_stop = lambda: self.signal.received is not None
        if run.state.validations_diverged >= self.validations_diverged:
            run.state.validations_diverged = 0  # whoever resumes has changed something: that gets its chance
        self._look_at_patience()  # a run whose patience ran out stays stopped when it is resumed

    def step_resumed(self) -> None:
        self._decide()

    def step_done(self, done: StepDone) -> None:
        self._decide()

    def _decide(self) -> None:
        if self._run.state.validations_diverged >= self.validations_diverged:
            self._run.request_stop("diverged")
        self._look_at_patience()
        if self._any_process_was_told():
            self._run.request_stop("signal")

    def finished(self) -> None:
        self.signal.release()

    def _look_at_patience(self) -> None:
        if self.patience is not None and self._run.state.validations_without_better >= self.patience:
            self._run.request_stop("patience")

    def _any_process_was_told(self) -> bool:
        """Whether any process was told to stop: all of them leave the loop at the same step."""
        return self.together.any(self.signal.received is not None)

"""A clean stop: the first signal is remembered, and the run ends itself at its next step boundary."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """Ctrl-C or SIGTERM, once it has come.

    Attributes:
        received: the first signal, or None so far.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.received: signal.Signals | None = None
        self._say = say

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Within, the first signal is only remembered; a second one ends the program at once."""
        try:
            previous = {number: signal.signal(number, self._receive) for number in _NUMBERS}
        except ValueError:  # not the main thread: whoever started it there handles signals
            previous = {}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        # The signal may have come in the middle of a write to the same stream, which Python refuses to enter twice.
        with suppress(RuntimeError):
            self._say(f"{self.received.name}: finishing this step and saving; once more to quit at once")

"""How a sweep is asked to stop: once to let runs save, twice to end them at once. Knows threads only."""

from __future__ import annotations

import threading


class StopRequest:
    """Set by the main thread, looked at by all workers."""

    def __init__(self) -> None:
        self._asked, self._at_once = threading.Event(), threading.Event()

    def ask(self) -> None:
        """The first time: finish the step and save; again: end now."""
        (self._at_once if self._asked.is_set() else self._asked).set()

    @property
    def is_asked(self) -> bool:
        """Whether to stop."""
        return self._asked.is_set()

    @property
    def is_at_once(self) -> bool:
        """Whether not even to wait for a checkpoint."""
        return self._at_once.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until asked; whether it was."""
        return self._asked.wait(seconds)

"""A line of JSON for each event, on stderr; nothing that a user wrote is in it, unless that is asked for."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from surestep.terminal_text import visible

LEVELS = ("debug", "info", "warning", "error")


def _to_stderr(line: str) -> None:
    # A log that nobody reads any more (a closed pipe, a full disk) must not fail the requests that it tells of.
    with suppress(OSError, ValueError):
        print(visible(line), file=sys.stderr, flush=True)


class EventLog:
    """Writes events.

    Args:
        level: the least that is written.
        with_texts: whether messages of errors, which may quote what was sent, are written.
        write: takes a line.
    """

    def __init__(
        self, level: str = "info", *, with_texts: bool = False, write: Callable[[str], None] = _to_stderr
    ) -> None:
        self._least = LEVELS.index(level)
        self._with_texts = with_texts
        self._write = write

    def event(self, level: str, name: str, **values: Any) -> None:
        """One line: when, how grave, what, and plain values."""
        if LEVELS.index(level) >= self._least:
            when = datetime.now(UTC).isoformat(timespec="milliseconds")
            self._write(json.dumps({"time": when, "level": level, "event": name} | values))

    def error(self, name: str, error: BaseException, **values: Any) -> None:
        """An exception: its class and where it was raised, without its message unless texts are logged."""
        frames = traceback.extract_tb(error.__traceback__)
        places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        message = {"message": str(error)} if self._with_texts else {}
        self.event("error", name, **values, error=type(error).__name__, at=places[-12:], **message)

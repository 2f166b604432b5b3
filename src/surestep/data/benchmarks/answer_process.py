"""Asks the process that reads answers as mathematics, from any thread, and never waits for long.

math-verify's own time limit works by signals, which only a main thread has, and no thread of Python can be stopped. A
process can: it is started with the first answer that needs it (under two seconds), asked under a lock, ended and
started again where it does not answer. A process that forks gets one of its own.
"""

from __future__ import annotations

import atexit
import json
import os
import queue
import subprocess
import sys
import threading
from contextlib import suppress

from surestep.data.records.helper_process import package_environment
from surestep.untrusted import parse_json

LONGEST_WAIT_S = 15.0
"""For one answer. The process stops by itself after three seconds of work; only what cannot be stopped comes here."""
_LONGEST_START_S = 120.0
_MOST_LOST = 5
"""So many answers may each cost the longest wait; then no more is asked."""


class AnswerProcess:
    """The process, started when first asked."""

    def __init__(self) -> None:
        self.lost = 0
        self._lock = threading.Lock()
        self._running: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()

    def name_of(self, answer: str) -> str | None:
        """See `mathematical_name`; None too where that could not be found out in time."""
        with self._lock:
            if self.lost >= _MOST_LOST or not (self._running is not None or self._start()):
                return None
            line = self._ask(json.dumps(answer))
        try:
            name = None if line is None else parse_json(line)
        except ValueError:
            return None
        return name if isinstance(name, str) else None

    def end(self) -> None:
        """End the process; the next question starts another."""
        running, self._running = self._running, None
        if running is not None:
            running.kill()
            running.wait()
            for stream in (running.stdin, running.stdout):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()

    def _start(self) -> bool:
        environment = {**package_environment(), "PYTHONIOENCODING": "utf-8"}
        command = [sys.executable, "-m", "surestep.data.benchmarks.answer_worker"]
        try:
            self._running = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
                env=environment,
            )
        except OSError:
            self.lost = _MOST_LOST
            return False
        self._lines = queue.Queue()
        threading.Thread(target=_read, args=(self._running, self._lines), daemon=True).start()
        if self._line(_LONGEST_START_S) == "ready":
            return True
        self.end()
        self.lost = _MOST_LOST
        return False

    def _ask(self, line: str) -> str | None:
        assert self._running is not None
        assert self._running.stdin is not None
        try:
            self._running.stdin.write(line + "\n")
            self._running.stdin.flush()
        except OSError:
            self.end()
            self.lost += 1
            return None
        found = self._line(LONGEST_WAIT_S)
        if found is None:
            self.end()
            self.lost += 1
        return found

    def _line(self, seconds: float) -> str | None:
        try:
            return self._lines.get(timeout=seconds)
        except queue.Empty:
            return None


def _read(running: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    """Its lines, and None when there are no more."""
    assert running.stdout is not None
    with suppress(OSError, ValueError):
        for line in running.stdout:
            lines.put(line.rstrip("\n"))
    lines.put(None)


_process = AnswerProcess()


def shared_process() -> AnswerProcess:
    """The one process of this process."""
    return _process


def _after_fork() -> None:
    """The parent's process answers the parent alone, and its lock may be held by a thread that is not here."""
    global _process
    _process = AnswerProcess()


atexit.register(lambda: _process.end())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

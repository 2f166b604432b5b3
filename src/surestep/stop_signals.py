"""Ctrl-C, SIGTERM and SIGHUP: an exception that says which one it was.

Knows signals; what a command does about them is its own business.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

STOPPING: tuple[signal.Signals, ...] = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""The signals that ask a program to end; Windows has no SIGHUP."""

_SECONDS_UNTIL_SENT_AGAIN = 0.05


class Interrupted(KeyboardInterrupt):
    """A signal ends the program now.

    Attributes:
        number: which one; where a second one came, the first.
    """

    def __init__(self, number: signal.Signals) -> None:
        self.number = number
        super().__init__(number.name)


Handler = Callable[[signal.Signals, signal.Signals], None]
"""Is told which signal came, and which one came first."""
_first: signal.Signals | None = None


@dataclass(frozen=True)
class _Told:
    """What receives a signal and remembers which one was the first, whoever received that."""

    handler: Handler

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        global _first
        _first = _first or signal.Signals(number)
        self.handler(signal.Signals(number), _first)


def catch_signals(handler: Handler) -> dict[signal.Signals, Any]:
    """Let `handler` receive them; gives what did so before, for `release_signals`.

    Of several that wait until Python looks, that with the lowest number counts as the first: their order is not known.

    SIGHUP stays ignored where it is: that is what `nohup` is for. Outside of the main thread nothing happens:
    whoever started it there handles signals.
    """
    before: dict[signal.Signals, Any] = {}
    for number in STOPPING:
        if number.name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN:
            continue
        with suppress(ValueError):
            before[number] = signal.signal(number, _Told(handler))
    return before


def release_signals(before: dict[signal.Signals, Any]) -> None:
    """Signals do again what they did before."""
    global _first
    for number, handler in before.items():
        # A handler that was not set from Python cannot be set from it either.
        signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if before and not any(isinstance(handler, _Told) for handler in before.values()):
        _first = None


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Within it, a signal raises `Interrupted`, so that everything that was begun is cleaned up on the way out.

    Where nothing can be raised (in a finaliser, in a library's callback from compiled code), Python would print the
    exception and go on; the signal is sent again until it is heard.
    """
    terminals = open_terminals()
    show_unraisable = sys.unraisablehook

    def send_again(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, Interrupted):
            show_unraisable(unraisable)
            return
        timer = threading.Timer(_SECONDS_UNTIL_SENT_AGAIN, os.kill, (os.getpid(), unraisable.exc_value.number))
        timer.daemon = True
        timer.start()

    def receive(number: signal.Signals, first: signal.Signals) -> None:
        if number.name == "SIGHUP":
            forget_terminals(terminals)
        raise Interrupted(first)

    before = catch_signals(receive)
    sys.unraisablehook = send_again
    try:
        yield
    finally:
        sys.unraisablehook = show_unraisable
        release_signals(before)


def open_terminals() -> list[int]:
    """Which of the standard streams are a terminal."""
    return [number for number in (0, 1, 2) if os.isatty(number)]


def forget_terminals(terminals: list[int]) -> None:
    """After SIGHUP they are gone, and each line written to them would be an error: send it nowhere."""
    if terminals:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in terminals:
            os.dup2(nowhere, number)
        os.close(nowhere)

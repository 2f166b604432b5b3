"""The process that reads answers as mathematics: one on each line in, its name on each line out.

Started by `answer_process`, which ends it when it takes too long. Within the time it takes, it counts its own: a
signal works here, in the main thread of a process that does nothing else.
"""

from __future__ import annotations

import json
import signal
import sys
from contextlib import suppress
from types import FrameType

SECONDS_OF_WORK = 3.0
"""Of processor time for one answer: the same on a busy machine."""
_MOST_MEMORY = 2 << 30


class OutOfTimeError(BaseException):
    """No `Exception`: those are what SymPy and math-verify swallow."""


def main() -> None:
    """Answer until there is nothing more to read."""
    _keep_within_bounds()
    from surestep.data.benchmarks.mathematical_form import mathematical_name
    from surestep.terminal_text import visible
    from surestep.untrusted import parse_json

    mathematical_name("1+x")  # what is loaded with the first answer is not part of its time
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        name: str | None = None
        with suppress(OutOfTimeError, MemoryError, RecursionError):
            _start_clock(SECONDS_OF_WORK)
            try:
                name = mathematical_name(str(parse_json(line)))
            finally:
                _start_clock(0.0)
        print(visible(json.dumps(name)), flush=True)


def _start_clock(seconds: float) -> None:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _keep_within_bounds() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it
    if hasattr(signal, "SIGPROF"):
        signal.signal(signal.SIGPROF, _stop)
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))


def _stop(number: int, frame: FrameType | None) -> None:
    raise OutOfTimeError


if __name__ == "__main__":
    main()

"""Python's collector of reference cycles, held back while very many objects are made that form none.

Whatever makes objects by the million (records of a file, rows of a table) lets the collector walk through everything
alive again and again, modules included: a quarter of the time of a first start. What forms no cycle is freed
without it.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLDS = (100_000, 20, 100)
"""Objects that are new since a collection of the young ones, and how many of those before one of older ones: cycles are
still freed, a hundred times later."""

_lock = threading.Lock()
_held_by = 0
_before = (0, 0, 0)


@contextmanager
def seldom_collecting() -> Iterator[None]:
    """Let the collector run seldom within the block; its thresholds are as before when the last such block has ended.

    Blocks may lie within each other and run in several threads. A collector that is switched off stays off.

    >>> import gc
    >>> before = gc.get_threshold()
    >>> with seldom_collecting():
    ...     gc.get_threshold()[0]
    100000
    >>> gc.get_threshold() == before
    True
    """
    global _held_by, _before
    with _lock:
        if _held_by == 0:
            _before = gc.get_threshold()
            gc.set_threshold(*_THRESHOLDS)
        _held_by += 1
    try:
        yield
    finally:
        with _lock:
            _held_by -= 1
            if _held_by == 0:
                gc.set_threshold(*_before)

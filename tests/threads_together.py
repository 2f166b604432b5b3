"""Processes of a run as threads of a test: what they tell each other goes through lists instead of a network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from surestep.scored import FloatArray
from surestep.scoring.spread.together import Together

T = TypeVar("T")


class _Exchange:
    """Where each of `count` threads leaves what all of them take."""

    def __init__(self, count: int) -> None:
        self.left: list[Any] = [None] * count
        self.barrier = threading.Barrier(count, timeout=20)


class ThreadsTogether(Together):
    """One of `count` threads."""

    def __init__(self, rank: int, exchange: _Exchange) -> None:
        super().__init__()
        self.rank, self.count, self._exchange = rank, len(exchange.left), exchange

    def gathered(self, values: FloatArray) -> list[FloatArray]:
        self._exchange.left[self.rank] = values
        self._exchange.barrier.wait()
        found = list(self._exchange.left)
        self._exchange.barrier.wait()  # nobody leaves the next before all have taken these
        return found

    def summed(self, values: Sequence[float]) -> list[float]:
        summed: list[float] = np.sum(self.gathered(np.array(values, float)), axis=0).tolist()
        return summed


def in_threads(count: int, act: Callable[[Together], T]) -> list[T]:
    """What `act` gives in each of `count` threads; the first error of one is raised."""
    exchange = _Exchange(count)
    found: list[Any] = [None] * count
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            found[rank] = act(ThreadsTogether(rank, exchange))
        except BaseException as error:
            errors.append(error)
            exchange.barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise next((error for error in errors if not isinstance(error, threading.BrokenBarrierError)), errors[0])
    return found

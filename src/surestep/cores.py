"""The cores that this process may use, and threads on them for work that lets go of Python's lock.

Knows no work in particular.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from typing import Any, TypeVar

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")

MOST_THREADS = 2
"""Threads of `in_threads`: each holds the memory of a task, and what needs Python's lock makes a third one wait."""


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_threads(function: Callable[[_Task], _Result], tasks: Sequence[_Task]) -> Iterator[_Result]:
    """The result of every task, in order, each worked out by whichever thread is free.

    A task may ask for the same of parts of its own: its thread works on these, and so does any that has no task of its
    own left, so that large tasks and parts of the last one keep all threads busy.

    What is made does not depend on how many threads there are: whoever asks cuts the work into the same tasks
    everywhere. At most two results for each thread wait to be taken. While several threads work, the linear algebra
    of NumPy and SciPy uses one thread in each, so that its sums do not depend on the number of cores either.

    Args:
        function: safe in several threads at once.
        tasks: done here, one after the other, where there is one of them, or one core.

    Raises:
        Whatever `function` raises, once all results before it were given.

    >>> list(in_threads(abs, [-1, 2, -3]))
    [1, 2, 3]
    """
    number = min(num_cores(), MOST_THREADS, len(tasks))
    if number < 2:
        yield from map(function, tasks)
        return
    call = _Call(function, tasks, 2 * number, getattr(_HERE, "call", None))
    _THREADS.open(call, number)
    try:
        for place in range(len(tasks)):
            yield _THREADS.result(call, place)
    finally:
        _THREADS.close(call)


class _LeftError(BaseException):
    """Nobody asks any more for the task that this thread works on."""


class _Call:
    """Tasks that somebody asks for; all but `tasks` and `inside` change under the lock of the threads.

    Args:
        most: results that may wait.
        inside: the call of whose task this one is a part; None for one from outside.
    """

    def __init__(self, function: Callable[[Any], Any], tasks: Sequence[Any], most: int, inside: _Call | None) -> None:
        self._function, self._tasks, self._most, self._inside = function, tasks, most, inside
        self._num_begun = self._num_taken = self.num_running = 0
        self._found: dict[int, tuple[Any, BaseException | None]] = {}
        self.is_closed = False

    @property
    def is_left(self) -> bool:
        """Whether nobody asks for its results any more."""
        return self.is_closed or (self._inside is not None and self._inside.is_left)

    def begin(self) -> int | None:
        """The place of a task to work on; None where there is none, or too many results wait."""
        if self.is_left or self._num_begun == min(len(self._tasks), self._num_taken + self._most):
            return None
        self._num_begun += 1
        self.num_running += 1
        return self._num_begun - 1

    def work(self, place: int) -> tuple[Any, BaseException | None]:
        """What a task comes to: a result, or an error."""
        before, _HERE.call = getattr(_HERE, "call", None), self
        try:
            return self._function(self._tasks[place]), None
        except BaseException as error:  # raised where it is asked for
            return None, error
        finally:
            _HERE.call = before

    def end(self, place: int, found: tuple[Any, BaseException | None]) -> None:
        """Keep what a task came to until it is taken."""
        self.num_running -= 1
        self._found[place] = found

    def take(self, place: int) -> tuple[Any, BaseException | None] | None:
        """What a task came to; None where it has not ended."""
        found = self._found.pop(place, None)
        self._num_taken += found is not None
        return found


class _Threads:
    """The threads of all calls that are open, which end with the last one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls: list[_Call] = []
        self._running: list[threading.Thread] = []
        self._limits = ExitStack()

    def open(self, call: _Call, number: int) -> None:
        """Begin to work on `call`, in at least `number` threads."""
        with self._changed:
            if not self._calls:
                self._limits.enter_context(_linear_algebra().limit(limits=1, user_api="blas"))
            self._calls.append(call)
            for place in range(len(self._running), number):
                self._running.append(threading.Thread(target=self._work, name=f"core {place}", daemon=True))
                self._running[-1].start()
            self._changed.notify_all()

    def result(self, call: _Call, place: int) -> Any:
        """The result of a task; one of these threads works on others until it is there."""
        is_one = threading.current_thread() in self._running
        with self._changed:
            while (found := call.take(place)) is None:
                if call.is_left:
                    raise _LeftError
                # Not on what was asked for before: it may be large, and the result is waited for.
                if not (is_one and self._did_one(self._calls[self._calls.index(call) :])):
                    self._changed.wait()
            self._changed.notify_all()
        if found[1] is not None:
            raise found[1]
        return found[0]

    def close(self, call: _Call) -> None:
        """Begin no more of its tasks, and wait for those that run."""
        ended: list[threading.Thread] = []
        with self._changed:
            call.is_closed = True
            self._changed.notify_all()
            while call.num_running:
                self._changed.wait()
            self._calls.remove(call)
            if not self._calls:
                ended, self._running = self._running, []
                self._limits.close()
                self._changed.notify_all()
        for thread in ended:
            thread.join()

    def _work(self) -> None:
        here = threading.current_thread()
        with self._changed:
            while here in self._running:
                if not self._did_one(self._calls):  # the largest first
                    self._changed.wait()

    def _did_one(self, calls: Sequence[_Call]) -> bool:
        """Whether there was a task to work on, which was done, the lock let go meanwhile."""
        for call in calls:
            if (place := call.begin()) is not None:
                self._changed.release()
                try:
                    found = call.work(place)
                finally:
                    self._changed.acquire()
                call.end(place, found)
                self._changed.notify_all()
                return True
        return False


_HERE = threading.local()
"""`call`: that of the task which this thread works on."""
_THREADS = _Threads()


@cache
def _linear_algebra() -> Any:
    """The libraries whose threads can be limited; looking for them takes longer than a small task."""
    from threadpoolctl import ThreadpoolController  # comes with scikit-learn

    return ThreadpoolController()

"""The cores that this process may use, and threads on them for work that lets go of Python's lock.

Knows no work in particular.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from itertools import islice
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

    What is made does not depend on how many threads there are: whoever asks cuts the work into the same tasks
    everywhere. At most one result for each thread waits to be taken. While several threads work, the linear algebra
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
    with ExitStack() as stack:
        stack.enter_context(_linear_algebra().limit(limits=1, user_api="blas"))
        pool = ThreadPoolExecutor(number, thread_name_prefix="core")
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        coming = iter(tasks)
        begun: deque[Future[_Result]] = deque(pool.submit(function, task) for task in islice(coming, 2 * number))
        while begun:
            found = begun.popleft().result()
            begun.extend(pool.submit(function, task) for task in islice(coming, 1))
            yield found


@cache
def _linear_algebra() -> Any:
    """The libraries whose threads can be limited; looking for them takes longer than a small task."""
    from threadpoolctl import ThreadpoolController  # comes with scikit-learn

    return ThreadpoolController()

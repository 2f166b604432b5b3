"""A second process that shares pure work with this one, so that another core helps; results are as those made here.

It is started as a program of its own: it runs nothing of the caller's script, inherits no lock, GPU or open file, and
ends with its parent, however that ends. Where it cannot be started, or is lost, the work is done here. Knows no
data.

    parent -> helper   a mark (4 bytes), a length (8 bytes) and a pickled (function, arguments), again and again
    helper -> parent   a mark, a length and the pickled result; a length of 0 where the function raised

What does not begin with the mark came out of step, and the process counts as lost.
"""

from __future__ import annotations

import os
import pickle
import queue
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

from surestep.cores import num_cores

AHEAD = 3
"""Tasks that wait at a helper, so that it never waits for the next one."""
LEAST_SHARED = 16 * 2**20
"""Bytes of files from which other processes help reading: starting one takes as long as reading a few megabytes."""
MOST_PROCESSES = 4
"""That read together; more would wait for the one that takes what they read."""
_MOST_WAITING = 12
"""Tasks begun whose results wait for one before them."""
_PIPE = 2**20
"""Bytes that a pipe holds, where it may: a task or a result. With the usual 64 kB a thread that reads one asks a dozen
times for Python's lock while this process computes, some milliseconds each, and the helper waits for it."""
_HEAD = struct.Struct("<4sQ")
_MARK = b"sure"

_Result = TypeVar("_Result")
_Value = TypeVar("_Value")


def package_environment() -> dict[str, str]:
    """The environment in which `python -m` runs a module of this package, and no file of the folder it is run in."""
    places = [str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places), "PYTHONSAFEPATH": "1"}


class NoResultError(Exception):
    """A helper has no result: its process is gone, or the function raised; whoever asked works it out itself."""


class HelperProcess:
    """One process, which works on what it is sent, in that order.

    Args:
        first: called there at once, so that its module is imported before work comes.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, first: Callable[[], object]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "surestep.data.records.helper_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=package_environment(),
        )
        for stream in (self._process.stdin, self._process.stdout):
            _widen(stream)
        self._asked: queue.SimpleQueue[tuple[bytes, Future[Any]] | None] = queue.SimpleQueue()
        self._sent: queue.SimpleQueue[Future[Any] | None] = queue.SimpleQueue()
        self.num_waiting = 0
        self._threads = [
            threading.Thread(target=work, name="helper", daemon=True) for work in (self._send_all, self._receive_all)
        ]
        for thread in self._threads:
            thread.start()
        self._started = self.submit(first)
        self._held: tuple[object, Future[None]] | None = None
        self.num_waiting = 0

    def is_ready(self) -> bool:
        """Whether it has begun to work: starting takes a second, and many on a busy machine."""
        return _is_there(self._started)

    def submit(self, function: Callable[..., _Result], *arguments: Any) -> Future[_Result]:
        """The result to come; its exception is a `NoResultError`."""
        result: Future[_Result] = Future()
        self.num_waiting += 1
        try:
            content = pickle.dumps((function, arguments), pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # a function of somebody's own script, say
            result.set_exception(NoResultError(str(error)))
        else:
            self._asked.put((content, result))
        return result

    def hold(self, value: object) -> Future[None]:
        """Done once what is called there by `_with_held` begins with `value`; sent again only where it is another."""
        if self._held is None or self._held[0] != value:
            self._held = value, self.submit(_hold, value)
            self.taken()  # no task, so it takes no task's room
        return self._held[1]

    def taken(self) -> None:
        """A result was used, so there is room for another."""
        self.num_waiting -= 1

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._asked.put(None)
        self._process.wait()
        for thread in self._threads:
            thread.join()
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                stream.close()  # type: ignore[union-attr]

    def _send_all(self) -> None:
        stream = self._process.stdin
        assert stream is not None
        while (asked := self._asked.get()) is not None:
            content, result = asked
            self._sent.put(result)
            with suppress(Exception):  # its end is seen where results are read
                _send(stream, content)
        self._sent.put(None)

    def _receive_all(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        is_lost = False
        while (result := self._sent.get()) is not None:
            content: bytes | None = None
            if not is_lost:
                with suppress(Exception):  # whatever it is: who waits for a result is to get on
                    content = _receive(stream)
                if is_lost := content is None:
                    self._process.kill()  # or it waits for a reader, and whoever sends waits for it
            try:
                if not content:
                    raise NoResultError
                found = pickle.loads(content)
            except Exception as error:
                result.set_exception(NoResultError(str(error)))
            else:
                result.set_result(found)


def helpers_for(files: Iterable[Path], *, least: int = 0) -> int:
    """How many processes help with these files: none where they are soon read, or have less than `least` bytes."""
    with suppress(OSError):  # whoever reads the files says so
        if sum(path.stat().st_size for path in files) >= max(least, LEAST_SHARED):
            return min(num_cores(), MOST_PROCESSES) - 1
    return 0


@contextmanager
def helpers(number: int, first: Callable[[], object]) -> Iterator[list[HelperProcess]]:
    """As many helpers as can be started, at most `number`, each with `first`; ended when the block is left."""
    with ExitStack() as stack:
        started: list[HelperProcess] = []
        with suppress(OSError, ValueError):
            for _ in range(number if sys.executable else 0):
                started.append(HelperProcess(first))
                stack.callback(started[-1].close)
        yield started


@dataclass(slots=True)
class _Begun(Generic[_Result]):
    """A task: done here, or begun by a helper."""

    task: tuple[Any, ...]
    result: _Result | None = None
    error: BaseException | None = None
    helper: HelperProcess | None = None
    future: Future[_Result] | None = None

    def is_done(self) -> bool:
        return self.future is None or self.future.done()


def in_order(
    function: Callable[..., _Result],
    tasks: Iterable[tuple[Any, ...]],
    started: Sequence[HelperProcess],
    *,
    held: object = None,
) -> Iterator[tuple[tuple[Any, ...], _Result]]:
    """Every task with `function(*task)`, in order, each worked out by a helper or here, whoever is free.

    Args:
        function: of a module, without effects; the same for the same task in every process.
        tasks: arguments and results can be pickled; taken a few ahead.
        started: the helpers; none: all is done here.
        held: where it is not None, the first argument of every call, before the task's own; large, and sent once.

    Raises:
        Whatever `tasks` or `function` raises, once all results before it were given.
    """
    begun: deque[_Begun[_Result]] = deque()
    coming = iter(tasks)
    work = _Work(function) if held is None else _Work(partial(function, held), partial(_with_held, function))
    holding = [(helper, None if held is None else helper.hold(held)) for helper in started]
    end: BaseException | None = None
    while True:
        try:
            task = next(coming)
        except StopIteration:
            break
        except Exception as error:
            end = error
            break
        ready = [helper for helper, given in holding if helper.is_ready() and (given is None or _is_there(given))]
        begun.append(_begin(work, task, ready))
        while begun and (begun[0].is_done() or len(begun) > _MOST_WAITING):
            yield _finish(work.here, begun.popleft())
    while begun:
        yield _finish(work.here, begun.popleft())
    if end is not None:
        raise end


_held: Any = None
"""In a helper: what `in_order` sent once."""


def _hold(value: object) -> None:
    global _held
    _held = value


def _with_held(function: Callable[..., _Result], *task: Any) -> _Result:
    return function(_held, *task)


def _is_there(future: Future[Any]) -> bool:
    return future.done() and future.exception() is None


@dataclass(frozen=True, slots=True)
class _Work(Generic[_Result]):
    """A function as it is called here, and in a helper."""

    here: Callable[..., _Result]
    there: Callable[..., _Result] | None = None


def _begin(work: _Work[_Result], task: tuple[Any, ...], ready: Sequence[HelperProcess]) -> _Begun[_Result]:
    least = min(ready, key=lambda helper: helper.num_waiting, default=None)
    if least is not None and least.num_waiting < AHEAD:
        return _Begun(task, helper=least, future=least.submit(work.there or work.here, *task))
    try:
        return _Begun(task, work.here(*task))
    except Exception as error:  # raised in its turn
        return _Begun(task, error=error)


def _finish(function: Callable[..., _Result], begun: _Begun[_Result]) -> tuple[tuple[Any, ...], _Result]:
    if begun.error is not None:
        raise begun.error
    if begun.future is None or begun.helper is None:
        return begun.task, begun.result  # type: ignore[return-value]
    try:
        result = begun.future.result()
    except NoResultError:
        result = function(*begun.task)
    begun.helper.taken()
    return begun.task, result


def batches(values: Iterable[_Value], most: int, size: Callable[[_Value], int]) -> Iterator[list[_Value]]:
    """The values in lists; a list ends with the value by which its `size` reaches `most`, and where `values` raises.

    >>> list(batches(["a", "b", "cde"], 2, len))
    [['a', 'b'], ['cde']]
    """
    batch: list[_Value] = []
    total = 0
    try:
        for value in values:
            batch.append(value)
            total += size(value)
            if total >= most:
                yield batch
                batch, total = [], 0
    except Exception:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _widen(pipe: Any) -> None:
    with suppress(ImportError, AttributeError, OSError):  # Linux alone lets it be set, and not without end
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)


def _send(stream: BinaryIO | Any, content: bytes) -> None:
    stream.write(_HEAD.pack(_MARK, len(content)))
    stream.write(content)
    stream.flush()


def _receive(stream: BinaryIO | Any) -> bytes | None:
    """The next message; None at the end, and where it is none."""
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    mark, length = _HEAD.unpack(head)
    if mark != _MARK:
        return None
    content: bytes = stream.read(length)
    return content if len(content) == length else None


def main() -> None:
    """Work until there is nothing more to read."""
    import signal

    from surestep.collector import seldom_collecting

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it
    tasks, results = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # what anything prints is no result
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    with seldom_collecting(), suppress(BrokenPipeError):
        while (content := _receive(tasks)) is not None:
            try:
                function, arguments = pickle.loads(content)
                found = pickle.dumps(function(*arguments), pickle.HIGHEST_PROTOCOL)
            except Exception:  # worked out again by whoever asked, who raises it
                found = b""
            _send(results, found)


def _end_with(parent: int) -> None:
    """End soon after the parent, also where another of its processes holds the pipe open."""
    import time

    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    main()

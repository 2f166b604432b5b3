"""Faults at a chosen act on the disk (a kill, a full disk), and commands as processes that start fast. POSIX only.

An act is making, renaming, linking or removing a file or folder, opening a file to write it, or syncing, below one
folder. Files that are written outside of Python (safetensors) are no acts of their own.
"""

from __future__ import annotations

import errno
import io
import os
import re
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from surestep.errors import SurestepError

RENAMES_AND_REMOVALS = frozenset({"rename", "link", "remove", "rmdir"})
WRITES = frozenset({"open", "mkdir", "rename", "link", "sync"})
_TOKEN = re.compile(r"\.[0-9a-f]{12}\.")
_TIMEOUT_S = 120


@dataclass
class Acts:
    """The acts below `folder` of some kinds, and what happens in place of one of them.

    Attributes:
        folder: only what lies below it counts.
        kinds: only these count.
        at: the number of the act, from 1, in whose place `fault` is called; 0: none.
        fault: is told the path.
        seen: kind and path of each act so far, without random parts.
    """

    folder: str
    kinds: frozenset[str]
    at: int = 0
    fault: Callable[[str], None] = lambda _path: None
    seen: list[str] = field(default_factory=list)

    @property
    def is_spent(self) -> bool:
        """Whether the fault has happened."""
        return 0 < self.at <= len(self.seen)

    def act(self, kind: str, path: Any, folder: int | None = None) -> None:
        """Count one; `folder` is the open folder that `path` is relative to."""
        if kind not in self.kinds or isinstance(path, int):
            return
        text = os.fsdecode(path)
        if folder is not None and folder >= 0:
            text = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), text)
        if not text.startswith(self.folder) or (kind == "mkdir" and os.path.isdir(text)):
            return
        self.seen.append(f"{kind} {_TOKEN.sub('.TOKEN.', os.path.relpath(text, self.folder))}")
        if len(self.seen) == self.at:
            self.fault(text)


_current: list[Acts] = []


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if not _current:
        return
    if event == "open":
        path, _, flags = arguments
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            _current[-1].act("open", path)
    elif event in {"os.rename", "os.link"}:
        _current[-1].act(event[3:], arguments[0], arguments[2])
    elif event in {"os.remove", "os.rmdir"}:
        _current[-1].act(event[3:], arguments[0], arguments[1])
    elif event == "os.mkdir":
        _current[-1].act("mkdir", arguments[0], arguments[2])


sys.addaudithook(_heard)


@contextmanager
def counted(acts: Acts) -> Iterator[Acts]:
    """Within it, `acts` counts, and its fault happens."""
    sync = os.fsync

    def synced(number: int) -> None:
        acts.act("sync", os.readlink(f"/proc/self/fd/{number}"))
        sync(number)

    os.fsync = synced
    _current.append(acts)
    try:
        yield acts
    finally:
        _current.remove(acts)
        os.fsync = sync


def full_disk(path: str) -> None:
    """The fault of a disk without space."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def kill(_path: str) -> None:
    """The fault of a process that is killed: nothing of ours runs after it."""
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (negative: killed by that signal), and what it printed."""

    code: int
    out: str
    err: str


class Forked:
    """A function in a process of its own, which inherits everything that is imported already."""

    def __init__(self, run: Callable[[], int]) -> None:
        self._streams = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._attend(run)

    def _attend(self, run: Callable[[], int]) -> None:
        code = 70
        try:
            signal.alarm(_TIMEOUT_S)
            os.setsid()
            null = os.open(os.devnull, os.O_RDONLY)
            for number, descriptor in enumerate((null, *(stream.fileno() for stream in self._streams))):
                os.dup2(descriptor, number)
            sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), encoding="utf-8", write_through=True)
            sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", closefd=False), encoding="utf-8", write_through=True)
            code = run()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        except SurestepError as error:
            code = 2
            print(f"surestep: {error}", file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def wait(self) -> Ended:
        """Until it has ended."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        texts = []
        for stream in self._streams:
            stream.seek(0)
            texts.append(stream.read().decode())
            stream.close()
        return Ended(code, *texts)


def forked(run: Callable[[], int]) -> Ended:
    """Run it in a process of its own and wait."""
    return Forked(run).wait()


def forked_command(*arguments: Any) -> Ended:
    """`surestep ARGUMENTS` in a process of its own."""
    from surestep.cli.main import main

    return forked(lambda: main([str(argument) for argument in arguments]))


def killed_at(number: int, run: Callable[[], int], folder: str, kinds: frozenset[str] = RENAMES_AND_REMOVALS) -> Ended:
    """Run it in a process of its own that is killed in place of its `number`-th act; exit code 0 where it had fewer."""

    def dying() -> int:
        with counted(Acts(folder, kinds, number, kill)):
            return run()

    return forked(dying)


def traced(run: Callable[[], int], folder: str, kinds: frozenset[str] = RENAMES_AND_REMOVALS) -> list[str]:
    """The acts of a run, in a process of its own."""

    def tracing() -> int:
        acts = Acts(folder, kinds)
        with counted(acts):
            code = run()
        print("\n".join(("", *acts.seen)))
        return code

    ended = forked(tracing)
    assert ended.code == 0, ended.err
    return [line for line in ended.out.splitlines() if line.partition(" ")[0] in kinds]

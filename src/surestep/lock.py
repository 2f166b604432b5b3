"""One writer a folder: a lock that is told apart from one that a killed process left.

The system's own lock (`flock`) decides where there is one, for it ends with its process; the file's content says who
holds it. Where the file system has none, the file alone decides. Knows folders and processes; knows no run.
"""

from __future__ import annotations

import errno
import getpass
import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from surestep.disk import leftovers, name_beside, real_path, remove_leftovers
from surestep.errors import LockedError
from surestep.files import storage_errors
from surestep.untrusted import parse_json

try:
    import fcntl
except ImportError:  # Windows: the file alone decides
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
"""What the name of a lock's file ends with."""
_NO_LINK: int = getattr(os, "O_NOFOLLOW", 0)
_NO_FLOCK = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
_PATIENCE_S = 2.0
"""How long a lock without content may stay so: it is empty between its making and its first write."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as its file says.

    Attributes:
        command: what it does with the folder.
        owner, host, pid: the user, the machine and the process.
        process_started: when the system started that process, in its own words: ids are given again.
        since: when the lock was taken, UTC, as ISO 8601.
        token: tells two locks of one process apart.
    """

    command: str
    owner: str
    host: str
    pid: int
    process_started: str
    since: str
    token: str

    @classmethod
    def myself(cls, command: str) -> Self:
        """This process."""
        return cls(
            command=command,
            owner=_user(),
            host=socket.gethostname(),
            pid=os.getpid(),
            process_started=_start_of(os.getpid()) or "",
            since=datetime.now(UTC).isoformat(timespec="seconds"),
            token=secrets.token_hex(6),
        )

    @classmethod
    def read(cls, text: str) -> Self | None:
        """From a lock's content; None where that is no lock's."""
        try:
            values = parse_json(text)
            found = cls(**{name: values[name] for name in cls.__dataclass_fields__})
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        texts = (found.command, found.owner, found.host, found.process_started, found.since, found.token)
        is_sound = all(isinstance(value, str) and len(value) < 256 and value.isprintable() for value in texts)
        return found if is_sound and isinstance(found.pid, int) and 0 < found.pid < 2**31 else None

    def __str__(self) -> str:
        return f"{self.command} of {self.owner} on {self.host} (process {self.pid}, since {self.since})"

    def is_here(self) -> bool:
        """Whether it is a process of this machine."""
        return self.host == socket.gethostname()

    def is_running(self) -> bool:
        """Whether that very process of this machine still runs."""
        return _start_of(self.pid) == self.process_started


@contextmanager
def locked(folder: Path, *, command: str, advice: str = "wait until it has ended, or stop it") -> Iterator[str | None]:
    """Hold the lock of `folder`, which need not exist; gives a line where a killed process had left it locked.

    The file lies beside the folder, within it where nothing may be written beside it, and is gone afterwards, as are
    folders that were made for it.

    Args:
        folder: what nobody else may write into.
        command: what is being done, for those who are refused.
        advice: what they can do.

    Raises:
        LockedError: another process holds it.
        StorageError: the lock cannot be written.
    """
    folder = real_path(folder)
    path = lock_path(folder)
    with _parents_of(path):
        with storage_errors(path, "a lock has to be written there: set --output_dir to a writable folder"):
            number, said = _take(path, folder, Holder.myself(command), advice)
        try:
            remove_leftovers(leftovers(path.parent, of=_probe_of(path).name))
            yield said
        finally:
            # First the name, then the lock: whoever opened the file before finds that it is no longer the one.
            with suppress(OSError):
                path.unlink()
            if number is not None:
                os.close(number)


def lock_path(folder: Path) -> Path:
    """Where the lock of a folder lies."""
    is_closed = folder.parent.is_dir() and not os.access(folder.parent, os.W_OK) and os.access(folder, os.W_OK)
    return folder / LOCK if is_closed else folder.with_name(f".{folder.name}{LOCK}")


def _take(path: Path, folder: Path, me: Holder, advice: str) -> tuple[int | None, str | None]:
    """The open file that holds the lock, None where the file system has no locks; and what there is to say."""
    take = _take_flock if _has_flock(path) else _take_by_name
    while True:
        try:
            return take(path, folder, me, advice)
        except FileNotFoundError:  # whoever made the folder above has just removed it
            path.parent.mkdir(parents=True, exist_ok=True)


def _probe_of(path: Path) -> Path:
    """What a lock's file system is tried with; a killed process may leave one."""
    return path.with_name(f"{path.name}.probe")


def _has_flock(path: Path) -> bool:
    """Whether the file system below `path` has locks."""
    if fcntl is None:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    probe = name_beside(_probe_of(path))
    number = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as error:
        if error.errno in _NO_FLOCK:
            return False
        raise
    finally:
        os.close(number)
        with suppress(OSError):
            probe.unlink()


def _take_flock(path: Path, folder: Path, me: Holder, advice: str) -> tuple[int, str | None]:
    while True:
        number = os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o644)
        try:
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LockedError(_refusal(_read_patiently(path), path, folder, advice)) from None
            if _is_at(number, path):
                former = os.pread(number, 2**16, 0).decode("utf-8", "replace")
                said = _take_over(former, path, folder, advice) if former else None
                try:
                    os.ftruncate(number, 0)
                    os.pwrite(number, _content(me), 0)
                    os.fsync(number)
                except BaseException:
                    path.unlink()
                    raise
                return number, said
        except BaseException:
            os.close(number)
            raise
        os.close(number)  # its holder has just removed it


def _is_at(number: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(number), path.stat())
    except FileNotFoundError:
        return False


def _take_by_name(path: Path, folder: Path, me: Holder, advice: str) -> tuple[None, str | None]:
    """The same without the system's locks: whoever makes the file holds it."""
    said = None
    while True:
        try:
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o644)
        except FileExistsError:
            former = _read_patiently(path)
            if former is None and path.exists():
                raise LockedError(
                    f"{folder} is locked by a file that does not say by whom; {advice}; if nobody works there, "
                    f"remove {path}"
                ) from None
            if former is not None:
                said = _take_over(_content(former).decode(), path, folder, advice)
                _move_away(path, former)
            continue
        try:
            os.write(number, _content(me))
            os.fsync(number)
        except BaseException:
            path.unlink()
            raise
        finally:
            os.close(number)
        return None, said


def _content(holder: Holder) -> bytes:
    return json.dumps(asdict(holder)).encode()


def _move_away(path: Path, former: Holder) -> None:
    """Take a stale lock away, unless another has done so and holds it now."""
    aside = name_beside(path)
    with suppress(FileNotFoundError):
        path.rename(aside)
        if Holder.read(aside.read_text(encoding="utf-8")) != former:
            with suppress(OSError):
                os.link(aside, path)
        aside.unlink()


def _take_over(former: str, path: Path, folder: Path, advice: str) -> str:
    """The line for a lock whose process has ended.

    Raises:
        LockedError: it runs, or whether it does cannot be seen from here.
    """
    holder = Holder.read(former)
    if holder is None:
        return f"{folder} was locked by a process that ended without a word; its lock was taken over"
    if not holder.is_here() or holder.is_running():
        raise LockedError(_refusal(holder, path, folder, advice))
    return f"{folder} was locked by {holder}, which no longer runs; its lock was taken over"


def _refusal(holder: Holder | None, path: Path, folder: Path, advice: str) -> str:
    if holder is not None and not holder.is_here():
        return (
            f"{folder} is locked by {holder}, another machine, so whether it still runs cannot be seen from here; "
            f"{advice}; if it has ended, remove {path}"
        )
    return f"{folder} is in use by {holder or 'another process'}; {advice} (its lock is {path})"


def _read_patiently(path: Path) -> Holder | None:
    """Who holds it; a moment is given to whoever has just made the file."""
    deadline = time.monotonic() + _PATIENCE_S
    while path.exists():
        with suppress(OSError):
            if (holder := Holder.read(path.read_text(encoding="utf-8", errors="replace"))) is not None:
                return holder
        if time.monotonic() > deadline:
            return None
        time.sleep(0.02)
    return None


@contextmanager
def _parents_of(path: Path) -> Iterator[None]:
    """Make the folders above a file; those that are empty afterwards are removed again."""
    missing = [parent for parent in path.parents if not parent.exists()]
    with storage_errors(path.parent, "set --output_dir to a writable folder"):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for parent in missing:
            with suppress(OSError):
                parent.rmdir()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user without a name
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"


def _start_of(pid: int) -> str | None:
    """When the system started a process, in its own words; None where none of that id runs."""
    try:
        # Behind the name, which may hold anything in brackets: state, then 19 numbers, then ticks since the boot.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return None if fields[0] in "ZX" else f"{boot} {fields[19]}"
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
    except (OSError, IndexError):
        return None
    with suppress(OSError, subprocess.SubprocessError):
        command = ["ps", "-o", "lstart=", "-p", str(pid)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
        return done.stdout.strip() or None
    return None

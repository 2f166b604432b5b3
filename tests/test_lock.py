"""One writer a folder: of processes that start at once one works, the others are told who does."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from surestep import lock
from surestep.errors import LockedError, StorageError
from surestep.lock import Holder, lock_path, locked

HOLDS = """
import sys, time
from pathlib import Path
from surestep.errors import LockedError
from surestep.lock import locked
if sys.argv[2] == "by name":
    from surestep import lock
    lock._has_flock = lambda path: False
try:
    with locked(Path(sys.argv[1]), command="surestep train") as said:
        print("held", said, flush=True)
        sys.stdin.readline()
except LockedError as error:
    print("refused", error, flush=True)
"""
WAYS = ("flock", "by name")


def start(folder: Path, way: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", HOLDS, str(folder), way]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the system's locks, and on a file system that has none."""
    if request.param == "by name":
        monkeypatch.setattr(lock, "_has_flock", lambda _path: False)
    return str(request.param)


@pytest.mark.slow
def test_of_processes_that_start_at_once_one_holds_it(tmp_path: Path, way: str) -> None:
    for race in range(3):
        folder = tmp_path / f"run-{race}"
        processes = [start(folder, way) for _ in range(4)]
        answers = [answer(process) for process in processes]
        held = [text for text in answers if text == "held None"]
        refused = [text for text in answers if text.startswith("refused")]
        assert (len(held), len(refused)) == (1, 3), answers
        pid = processes[answers.index("held None")].pid
        for text in refused:
            for words in (str(folder), "in use by surestep train", f"process {pid}", os.uname().nodename):
                assert words in text
        for process in processes:
            process.communicate("\n", timeout=30)
        assert not lock_path(folder).exists()


def test_a_killed_holder_leaves_a_lock_that_the_next_takes_over_with_a_line(tmp_path: Path, way: str) -> None:
    folder = tmp_path / "run"
    process = start(folder, way)
    assert answer(process) == "held None"
    process.kill()
    process.communicate()
    assert lock_path(folder).is_file()
    with locked(folder, command="me") as said:
        assert said is not None
        for words in (str(folder), f"process {process.pid}", "no longer runs", "taken over"):
            assert words in said
        assert json.loads(lock_path(folder).read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_process_id_that_was_given_again_is_another_process(tmp_path: Path, way: str) -> None:
    stale = replace(Holder.myself("earlier"), process_started="boot 1")
    path = lock_path(tmp_path / "run")
    path.write_text(json.dumps(asdict(stale)))
    with locked(tmp_path / "run", command="me") as said:
        assert said is not None
        assert "no longer runs" in said


def test_a_running_process_keeps_it_where_locks_of_the_system_do_not_hold(tmp_path: Path, way: str) -> None:
    """Some network file systems grant everybody a lock."""
    path = lock_path(tmp_path / "run")
    path.write_text(json.dumps(asdict(Holder.myself("another"))))
    with pytest.raises(LockedError, match="in use by another"), locked(tmp_path / "run", command="me"):
        pytest.fail("it was given")
    assert path.is_file()


def test_whether_another_machine_still_runs_is_asked_of_the_user(tmp_path: Path, way: str) -> None:
    path = lock_path(tmp_path / "run")
    path.write_text(json.dumps(asdict(replace(Holder.myself("surestep train"), host="elsewhere"))))
    with pytest.raises(LockedError) as caught, locked(tmp_path / "run", command="me"):
        pytest.fail("it was given")
    for words in ("elsewhere", "another machine", f"remove {path}"):
        assert words in str(caught.value)
    path.unlink()
    with locked(tmp_path / "run", command="me") as said:
        assert said is None


@pytest.mark.parametrize("content", ["{", "[]", '{"pid": "x"}', "\0" * 10, '{"pid": 1}', "[" * 100_000])
def test_a_lock_with_broken_content_is_no_traceback(
    tmp_path: Path, way: str, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_PATIENCE_S", 0.1)
    path = lock_path(tmp_path / "run")
    path.write_text(content)
    if way == "flock":  # the system says that nobody holds it
        with locked(tmp_path / "run", command="me") as said:
            assert said is not None
    else:
        with pytest.raises(LockedError, match=r"remove .+\.lock"), locked(tmp_path / "run", command="me"):
            pytest.fail("it was given")


def test_the_same_folder_by_another_way_is_the_same_lock(tmp_path: Path, way: str) -> None:
    (tmp_path / "real" / "run").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "run")
    held, other = locked(tmp_path / "link", command="one"), locked(tmp_path / "real" / "run", command="two")
    with held, pytest.raises(LockedError), other:
        pytest.fail("it was given twice")


def test_a_lock_leaves_no_folders_of_its_own(tmp_path: Path, way: str) -> None:
    with locked(tmp_path / "outputs" / "deep" / "run", command="me"):
        assert (tmp_path / "outputs" / "deep").is_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, way: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="--output_dir"), locked(tmp_path / "file" / "run", command="me"):
        pytest.fail("it was given")


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_PATIENCE_S", 0.1)
    target = tmp_path / "precious"
    target.write_text("content")
    lock_path(tmp_path / "run").symlink_to(target)
    with pytest.raises((StorageError, LockedError)), locked(tmp_path / "run", command="me"):
        pytest.fail("it was given")
    assert target.read_text() == "content"


@pytest.mark.parametrize("number", sorted(lock._NO_FLOCK))
def test_a_file_system_without_locks_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with locked(tmp_path / "run", command="one"), pytest.raises(LockedError), locked(tmp_path / "run", command="two"):
        pytest.fail("it was given twice")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_lock(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"), locked(tmp_path / "run", command="me"):
        pytest.fail("it was given")
    monkeypatch.undo()
    with locked(tmp_path / "run", command="me"):
        pass


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_stopped_holder_is_no_dead_one(tmp_path: Path, way: str) -> None:
    process = start(tmp_path / "run", way)
    assert answer(process) == "held None"
    os.kill(process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(LockedError), locked(tmp_path / "run", command="me"):
            pytest.fail("it was given")
    finally:
        os.kill(process.pid, signal.SIGCONT)
        process.communicate("\n", timeout=30)

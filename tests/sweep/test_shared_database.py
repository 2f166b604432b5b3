"""A sweep over PostgreSQL, as several machines share it: Debian's server, started for the test."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="the extra `sweep` is not installed")
pytest.importorskip("psycopg", reason="psycopg, which speaks to PostgreSQL, is not installed")

import psycopg
from sqlalchemy.engine import make_url

from fake_training import FakeTraining, make_plan
from surestep.errors import StorageError
from surestep.sweep.run import run_sweep, show_sweep
from surestep.sweep.storage import open_storage


def _server_programs() -> Path | None:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((folder for folder in reversed(folders) if (folder / "initdb").exists()), None)


@pytest.fixture
def postgresql() -> Iterator[str]:
    """The address of an empty database, on a server that ends with the test."""
    programs = _server_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian's package `postgresql`)")
    is_root = os.geteuid() == 0
    if is_root and shutil.which("runuser") is None:
        pytest.skip("PostgreSQL does not run as root, and there is no `runuser`")
    # Not below pytest's own folder, which nobody but its owner may enter: the server refuses to be root's.
    folder = Path(tempfile.mkdtemp(prefix="surestep_database_"))
    if is_root:
        shutil.chown(folder, "postgres")
    as_user = ["runuser", "-u", "postgres", "--"] if is_root else []
    data = str(folder / "data")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])

    def call(program: str, *arguments: str) -> None:
        # The server keeps what it inherits open, so its output is no pipe of ours.
        subprocess.run(
            [*as_user, str(programs / program), *arguments],
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            timeout=60,
        )

    call("initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    call("pg_ctl", "-D", data, "-w", "-o", options, "-l", str(folder / "log"), "start")
    try:
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    finally:
        call("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


WORKER = """
import os, sys
from pathlib import Path
sys.path.append(sys.argv[3])
from fake_training import FakeTraining, make_plan
from surestep.sweep.run import run_sweep
# In one write: the threads of a worker print at once.
train = FakeTraining(lambda config: os.write(1, f"{config.experiment_name}\\n".encode()) and None)
run_sweep(make_plan(Path(sys.argv[1]), "learning_rate=log:1e-5..1e-3", trials=8), command=[], workers=2,
          storage=sys.argv[2], say=lambda line: None, train=train)
"""


@pytest.mark.slow
def test_workers_of_two_machines_share_the_trials(postgresql: str, tmp_path: Path, quick_python: Path) -> None:
    """Two processes whose folders are not shared: all that they have in common is the database."""
    workers = [
        subprocess.Popen(
            [quick_python / "python", "-c", WORKER, str(tmp_path / name), postgresql, str(Path(__file__).parents[1])],
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "other")
    ]
    names = [name for worker in workers for name in worker.communicate(timeout=90)[0].split()]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert len(names) == 8 == len(set(names))
    shown = show_sweep(tmp_path / "third" / "sweep", "sweep", storage=postgresql).results
    assert shown["counts"]["complete"] + shown["counts"]["pruned"] == 8


def _open_together(address: str, workers: int = 6) -> list[int]:
    """Open one empty database from `workers` threads at once: how many studies each then reads in it."""
    start = threading.Barrier(workers)

    def open_it(_worker: int) -> int:
        start.wait()
        storage = open_storage(make_url(address), when_dead=lambda study, trial: None)
        found = len(storage.get_all_studies())
        storage.engine.dispose()
        return found

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(open_it, range(workers)))


@pytest.mark.slow
def test_workers_that_begin_together_make_the_tables_once(tmp_path: Path) -> None:
    assert _open_together(f"sqlite:///{tmp_path / 'study.db'}") == [0] * 6


@pytest.mark.slow
def test_workers_that_begin_together_make_the_tables_once_in_postgresql(postgresql: str) -> None:
    server, _, _ = postgresql.rpartition("/")
    for name in ("first", "second", "third"):
        with psycopg.connect(postgresql, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        assert _open_together(f"{server}/{name}") == [0] * 6


def test_a_database_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(StorageError, match="does not answer") as raised:
        run_sweep(
            make_plan(tmp_path, "learning_rate=1e-4,2e-4"),
            command=[],
            workers=1,
            storage=f"postgresql://user:secret@127.0.0.1:{port}/name",
            say=print,
            train=FakeTraining(),
        )
    assert "secret" not in str(raised.value)

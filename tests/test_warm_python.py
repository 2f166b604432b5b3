"""The quick `python` of the tests ends as the command did that it runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

import warm_python


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("pass", 0),
        ("import sys; sys.exit(3)", 3),
        ("raise ValueError", 1),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
        ("import os; os.kill(os.getpid(), 15)", -signal.SIGTERM),
    ],
)
def test_it_ends_as_its_command_did(quick_python: Path, code: str, expected: int) -> None:
    ran = subprocess.run([quick_python / "python", "-c", code], check=False, stderr=subprocess.DEVNULL)
    assert ran.returncode == expected


@pytest.mark.slow
def test_whoever_comes_second_has_the_same_one_and_the_last_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that only answers stands for the warm one."""
    code = "import socket, sys, time; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[3]); time.sleep(600)"
    script = tmp_path / "server.py"
    script.write_text(f"import sys; sys.argv.insert(1, '')\n{code}", encoding="utf-8")
    monkeypatch.setattr(warm_python, "__file__", str(script))
    first, second = (warm_python.warm_python(tmp_path) for _ in range(2))
    folder = first.__enter__()
    pid, _ = json.loads((tmp_path / "warm-python.json").read_text())
    assert second.__enter__() == folder
    first.__exit__(None, None, None)
    os.kill(pid, 0)  # it is there
    assert (folder / "python").is_file()
    second.__exit__(None, None, None)
    assert os.waitpid(pid, 0) == (pid, signal.SIGTERM)
    assert not folder.exists()
    with warm_python.warm_python(tmp_path) as another:
        assert another != folder


@pytest.mark.slow
@pytest.mark.parametrize("offline", [True, False])
def test_it_asks_the_hub_only_where_its_environment_allows_it(quick_python: Path, offline: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment |= {"HF_HUB_OFFLINE": "1"} if offline else {}
    code = "from huggingface_hub import is_offline_mode; print(is_offline_mode())"
    ran = subprocess.run(
        [quick_python / "python", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == str(offline)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_it_is_one_to_its_command(quick_python: Path, number: int) -> None:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with subprocess.Popen([quick_python / "python", "-c", code], stdout=subprocess.PIPE, text=True) as client:
        try:
            assert int(client.stdout.readline()) != client.pid
            client.send_signal(number)
            assert client.wait(60) == -number
        finally:
            client.kill()  # and its command with it
        assert client.stdout.read() == "", "a command that goes on keeps its output open"

"""The quick `python` of the tests ends as the command did that it runs."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest


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

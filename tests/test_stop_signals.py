"""A signal ends a command at every moment, also while its modules are imported and where nothing can be raised."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from surestep.stop_signals import STOPPING, Interrupted, interrupted_by_signals


class _SignalledWhileRemoved:
    """Python ignores what a finaliser raises."""

    def __init__(self, number: signal.Signals) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


def _signalled_and_waiting(number: signal.Signals) -> None:
    with interrupted_by_signals():
        removed = _SignalledWhileRemoved(number)
        del removed
        for _ in range(200):
            time.sleep(0.05)


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_that_cannot_be_raised_where_it_came_is_raised_later(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = sys.unraisablehook
    with pytest.raises(Interrupted) as caught:
        _signalled_and_waiting(number)
    assert caught.value.number == number
    assert sys.unraisablehook is hook
    assert capsys.readouterr().err == ""


def test_other_exceptions_of_a_finaliser_are_shown_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fails:
        def __del__(self) -> None:
            raise ValueError("shown")

    shown: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: shown.append(str(unraisable.exc_value)))
    with interrupted_by_signals():
        failing = Fails()
        del failing
    assert shown == ["shown"]


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_while_a_command_is_imported_is_one_line(number: signal.Signals, tmp_path: Path) -> None:
    code = f"""
import importlib, signal, sys
from surestep.cli import main
load = importlib.import_module
def interrupted(name):
    signal.raise_signal({int(number)})
    return load(name)
importlib.import_module = interrupted
sys.exit(main.main(["score", "none.jsonl", "none"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    words = "interrupted" if number.name == "SIGINT" else f"stopped by {number.name}"
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", f"surestep: {words}\n")

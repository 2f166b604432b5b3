"""The command itself: help without torch, and every error as one line."""

from __future__ import annotations

import argparse
import errno
import os
import subprocess
import sys

import pytest

from surestep.cli.flags import fields
from surestep.cli.main import COMMANDS, main, run_command
from surestep.errors import ConfigError, DataError


def raising(error: BaseException) -> argparse.Namespace:
    def run(_args: argparse.Namespace) -> int:
        raise error

    return argparse.Namespace(run=run)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DataError("it is\ncut", path="a.jsonl", line=3), 2, "surestep: a.jsonl, line 3: it is cut"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "x"),
            2,
            "surestep: x: No such file or directory",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "surestep: the disk: No space left on device"),
        (OSError(errno.EFBIG, "File too large"), 2, "surestep: the disk: File too large"),
        (KeyboardInterrupt(), 130, "surestep: interrupted"),
    ],
)
def test_a_users_mistake_is_one_line(error, code: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(error)) == code
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith(line)


def test_memory_that_ends_anywhere_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Python's, a GPU's, the CPU's; another RuntimeError is a bug of ours."""
    import torch

    cpu = RuntimeError("[enforce fail at alloc_cpu.cpp:132] err == 0. DefaultCPUAllocator: can't allocate memory: you")
    for error in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate"), cpu):
        assert run_command(raising(error)) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert err.startswith("surestep: out of memory")
        assert "--backbone" in err
    with pytest.raises(RuntimeError, match="shape"):
        run_command(raising(RuntimeError("a shape is wrong")))


def test_several_contradictions_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(ConfigError(["first", "second"]))) == 2
    assert capsys.readouterr().err == "surestep: first\nsurestep: second\n"


@pytest.mark.parametrize("error", [ZeroDivisionError(), OSError(errno.EBADF, "Bad file descriptor")])
def test_a_bug_of_ours_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        run_command(raising(error))


@pytest.mark.parametrize("arguments", [[], ["tarin"], ["train", "--lerning_rate", "1"], ["train", "--learning", "1"]])
def test_an_unknown_command_or_flag_is_refused_by_name(arguments: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)


def test_train_help_lists_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    for path, info in fields():
        assert f"--{path} " in out or f"--{path}," in out or f"--{path}\n" in out, path
        assert info.description, path
    for flag in ("--resume", "--overwrite", "--config", "--preset", "--batch_size"):
        assert flag in out


NO_TORCH = """
import contextlib, sys
from surestep.cli.main import main
for arguments in (["--help"], ["--version"], ["train", "--help"], ["evaluate", "--help"], ["data", "--help"],
                  ["train", "--max_steps", "0"], ["evaluate"], ["data", "list"]):
    with contextlib.suppress(SystemExit), open("/dev/null", "w") as null:
        with contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
            main(arguments)
    heavy = {"torch", "transformers", "peft", "accelerate", "sklearn"} & set(sys.modules)
    assert not heavy, (arguments, heavy)
"""


@pytest.mark.slow
def test_help_and_mistakes_in_flags_import_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", NO_TORCH], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


GONE = """
import argparse, sys
from surestep.cli.main import run_command
def run(args):
    for _ in range(100_000):
        print("a line of output")
    return 0
sys.exit(run_command(argparse.Namespace(run=run)))
"""


@pytest.mark.skipif(os.name != "posix", reason="pipes close otherwise elsewhere")
def test_a_reader_that_goes_away_is_no_error() -> None:
    """As in `surestep data list | head`."""
    command = f"{sys.executable} -c '{GONE}' | true"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")

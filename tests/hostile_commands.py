"""Runs commands on hostile checkpoints in a process of its own, with a bound on memory and time for each.

    python tests/hostile_commands.py ORIGINAL KIND ROOT FLAGS_AS_JSON

prints a JSON object a line: the harm, the command, its exit code, what it printed to stderr, the seconds that it took.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from hostile import FULL, LORA, STATE, copies
from surestep.cli.main import main

MEMORY = 1024**3
"""Bytes that a command may take beyond what the process holds when all is imported."""
SECONDS = 20


class TooLongError(BaseException):
    """Not an Exception: nothing may catch it on its way."""


def _too_long(_number: int, _frame: Any) -> None:
    raise TooLongError


def commands(folder: Path, out: Path, flags: list[str]) -> list[list[str]]:
    """Everything that loads a checkpoint to use its weights."""
    name = str(folder)
    return [
        ["evaluate", "--checkpoint", name, "--output_dir", str(out / "evaluated")],
        ["export", "--checkpoint", name, "--output_dir", str(out / "exported")],
        ["calibrate", "--checkpoint", name],
        ["check", name],
        ["train", *flags, "--experiment_name", "from_it", "--output_dir", str(out), "--init_from", name],
    ]


def resuming(folder: Path, flags: list[str]) -> list[str]:
    """Going on with the run that the checkpoint belongs to."""
    run = folder.parent
    return ["train", *flags, "--experiment_name", run.name, "--output_dir", str(run.parent), "--resume"]


def attempt(arguments: list[str]) -> dict[str, Any]:
    """Exit code, stderr and seconds of one command."""
    err = io.StringIO()
    begun = time.monotonic()
    signal.alarm(SECONDS)
    code: int | str = 0
    try:
        with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
            code = main(arguments)
    except TooLongError:
        code = "too long"
    except SystemExit as left:
        code = int(left.code or 0)
    except BaseException:
        code = traceback.format_exc()[-1500:]
    finally:
        signal.alarm(0)
    return {"code": code, "err": err.getvalue(), "seconds": time.monotonic() - begun}


def run(original: Path, kind: str, root: Path, flags: list[str]) -> None:
    """Every harm of a kind, through one command each in turn, or through resuming."""
    signal.signal(signal.SIGALRM, _too_long)
    held = int(Path("/proc/self/statm").read_text().split()[5]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_DATA, (held + MEMORY, resource.RLIM_INFINITY))
    harms = {"lora": LORA, "full": FULL, "state": STATE}[kind]
    only = os.environ.get("ONLY")
    for number, (name, folder) in enumerate(copies(original, root, harms)):
        if only and only not in name:
            continue
        chosen = commands(folder, root / "out" / str(number), flags)
        arguments = resuming(folder, flags) if kind == "state" else chosen[number % len(chosen)]
        print(json.dumps({"harm": name, "command": arguments[0], **attempt(arguments)}), flush=True)


if __name__ == "__main__":
    # Imported before memory is bounded: it counts what a checkpoint costs, not the libraries.
    import surestep.evaluation.calibrate
    import surestep.evaluation.check.checklist
    import surestep.evaluation.evaluate
    import surestep.scoring.checkpoint.export
    import surestep.training.run  # noqa: F401

    run(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), json.loads(sys.argv[4]))

"""A `python` for tests that starts fast: a server imports torch and the rest once and forks for each command.

Every command is still a process of its own, with its own arguments, folder, environment and streams, and runs the
script file that it names; it gets the signals that its client gets, and dies with it. Only the imports are shared, and
the plots of a report are written undrawn, as in all tests: they are most of an evaluation's time. `surestep` starts
fast in the same way. POSIX only, as the shell blocks are that it serves.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import gc
import importlib
import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

IMPORTED = (
    "torch",
    "torch.utils.tensorboard",
    "transformers",
    "transformers.models.llama.modeling_llama",
    "peft",
    "accelerate",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "jinja2",
    "scipy.optimize",
    "sklearn.feature_extraction.text",
    "sklearn.linear_model",
    "sklearn.model_selection",
    "surestep.cli.main",
    "surestep.cli.commands.train",
    "surestep.cli.commands.evaluate",
    "surestep.cli.commands.data",
    "surestep.cli.output.progress",
    "surestep.cli.output.tables",
    "surestep.training.run",
    "surestep.evaluation.evaluate",
)
_COMMANDS: dict[str, list[str]] = {
    "python": [],
    "surestep": ["-c", "import sys; from surestep.cli.main import main; sys.exit(main())"],
}
_START_TIMEOUT_S = 120.0
NOBODY_ANSWERS = "http://127.0.0.1:9"
"""The hub's address as all commands know it: none uses the network."""

# Kept to the standard library's quickest modules, and started without site packages.
_CLIENT = """\
#!{python} -IS
import array, json, os, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
request = json.dumps([{prefix!r} + sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
server.sendmsg([len(request).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
server.sendall(request)
answers = server.makefile()
child = int(answers.readline() or 0)
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2) if child else ():
    signal.signal(number, lambda number, _: os.kill(child, number))
code = int(answers.readline() or 70)
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@contextlib.contextmanager
def warm_python(place: Path) -> Iterator[Path]:
    """A folder with the quick `python` and `surestep`, for as long as the context lasts.

    Processes that name the same `place`, a folder, share one server: the first starts it, the last ends it.
    """
    named = place / "warm-python.json"
    with (place / "warm-python.users").open("w") as users:
        with _alone(place):
            if not named.exists():
                server, folder = _start()
                named.write_text(json.dumps([server.pid, str(folder)]), encoding="utf-8")
            fcntl.flock(users, fcntl.LOCK_SH)
            pid, found = json.loads(named.read_text(encoding="utf-8"))
        try:
            yield Path(found) / "bin"
        finally:
            with _alone(place), contextlib.suppress(BlockingIOError):  # somebody else uses it
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                named.unlink()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
                shutil.rmtree(found, ignore_errors=True)


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Nobody else starts or ends the server of `place` meanwhile."""
    with (place / "warm-python.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _start() -> tuple[subprocess.Popen[bytes], Path]:
    """A server that answers, and its folder with the commands in `bin`."""
    # A socket's path may have no more than about a hundred characters, so it cannot lie in pytest's folder.
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    address = folder / "socket"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment["HF_ENDPOINT"] = NOBODY_ANSWERS  # the hub's client reads both when it is imported
    environment.pop("HF_HUB_OFFLINE", None)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([sys.executable, __file__, "serve", str(address)], env=environment, stderr=log)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not address.exists():
        if server.poll() is not None or time.monotonic() > deadline:
            server.kill()
            raise RuntimeError(f"the server did not start: {(folder / 'log').read_text()}")
        time.sleep(0.05)
    commands = folder / "bin"
    commands.mkdir()
    for name, prefix in _COMMANDS.items():
        client = _CLIENT.format(python=sys.executable, address=str(address), prefix=prefix)
        (commands / name).write_text(client, encoding="utf-8")
        (commands / name).chmod(0o755)
    return server, folder


def _serve(address: Path) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's job in the background has it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.disable()
    for name in IMPORTED:
        importlib.import_module(name)
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    from quick_plots import quick_png  # beside this file, where Python looks first when it runs it
    from surestep.evaluation.report.charts import png
    from surestep.evaluation.report.page import environment

    png.png_of = quick_png
    environment().filters.setdefault("cell", str)  # the card puts its own there before it is rendered
    for name in environment().list_templates():
        environment().get_template(name)  # compiled once
    get_checkpoint_conversion_mapping("")  # compiles a thousand patterns, once a process
    # A collection in a child would write to every object that it looks at, and so copy all memory of this process.
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # finished children leave no trace
    listener = socket.socket(socket.AF_UNIX)
    beside = address.with_suffix(".new")
    listener.bind(str(beside))
    listener.listen()
    beside.rename(address)  # appears only when it answers
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _attend(connection)
        connection.close()


def _attend(connection: socket.socket) -> None:
    """Read one request, run it in a child, send its process id and, in the end, its exit code. Never returns."""
    descriptors = array.array("i")
    head, ancillary, _, _ = connection.recvmsg(8, socket.CMSG_LEN(3 * descriptors.itemsize))
    descriptors.frombytes(ancillary[0][2])
    from huggingface_hub import constants

    request = connection.makefile("rb").read(int.from_bytes(head, "big"))
    arguments, folder, environment = json.loads(request)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        connection.close()
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        # The hub's client read it when this server imported it; where it is not heeded, each name that is not in the
        # cache costs most of a minute of attempts.
        constants.HF_HUB_OFFLINE = "HF_HUB_OFFLINE" in environment
        code = _run(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    connection.sendall(f"{child}\n".encode())
    threading.Thread(target=_kill_with_client, args=(connection, child), daemon=True).start()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(OSError):  # nobody waits for it any more
        connection.sendall(f"{code}\n".encode())
    os._exit(0)


def _kill_with_client(connection: socket.socket, child: int) -> None:
    """Kill the child when the client has been killed, which alone no process can pass on."""
    with contextlib.suppress(OSError):  # reset, where it had not yet read what was sent
        connection.recv(1)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)


def _run(arguments: list[str]) -> int:
    """What `python ARGUMENTS` does, for `-c CODE` and for a script; returns the exit code."""
    try:
        if arguments[0] == "-c":
            sys.argv, sys.path[0] = ["-c", *arguments[2:]], ""
            exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
        else:
            sys.argv, sys.path[0] = arguments, str(Path(arguments[0]).resolve().parent)
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
            return 1
        return ended.code or 0
    except KeyboardInterrupt:
        traceback.print_exc()
        sys.stdout.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    _serve(Path(sys.argv[2]))

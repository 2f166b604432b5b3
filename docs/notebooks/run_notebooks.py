"""Runs the notebooks without Jupyter: every code cell in order, in a folder of their own, a namespace a notebook.

`python docs/notebooks/run_notebooks.py` keeps what they print as their outputs; `--no_write` only runs them. A cell is
Python; a line that begins with `!` is a command of the shell, as in Jupyter. The first cell that raises, or whose
command fails, ends it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).resolve().parent
ORDER = ("train_on_my_data", "trust_a_score", "rerank_and_guide")
"""The first one trains the model that the others use."""
_COMMAND = re.compile(r"^!(?P<command>(?:.*\\\n)*.*)$", re.MULTILINE)


def run_notebook(notebook: dict[str, Any]) -> None:
    """Run it in the working folder, and put what each code cell prints in its place as the cell's output.

    Raises:
        subprocess.CalledProcessError: a command of the shell failed.
        Exception: whatever a cell raises.
    """
    namespace: dict[str, Any] = {"__name__": "__main__", "_in_shell": _in_shell}
    count = 0
    for number, cell in enumerate(notebook["cells"], start=1):
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"])
        code = _COMMAND.sub(lambda found: f"_in_shell({found['command']!r})", source)
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                exec(compile(code, f"cell {number}", "exec"), namespace)
        except BaseException as error:
            error.add_note(f"in cell {number}:\n{source}\n{printed.getvalue()}")
            raise
        count += 1
        lines = printed.getvalue().splitlines(keepends=True)
        cell["outputs"] = [{"name": "stdout", "output_type": "stream", "text": lines}] if lines else []
        cell["execution_count"] = count


def _in_shell(command: str) -> None:
    """Run it as in a terminal of 100 columns, and print what it prints; its stderr is shown only where it fails."""
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    ran = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment)
    print(ran.stdout, end="")
    if ran.returncode:
        print(ran.stderr)
        raise subprocess.CalledProcessError(ran.returncode, command)


def run_files(paths: list[Path], *, write: bool) -> None:
    """Run the notebooks one after the other in one new folder; with `write`, keep their outputs in the files."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for path in paths:
                started = time.monotonic()
                notebook = json.loads(path.read_text(encoding="utf-8"))
                run_notebook(notebook)
                print(f"{path.name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
                if write:
                    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        finally:
            os.chdir(here)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run the notebooks, every cell.")
    parser.add_argument("--no_write", action="store_true", help="leave the files as they are")
    given = parser.parse_args()
    run_files([NOTEBOOKS / f"{name}.ipynb" for name in ORDER], write=not given.no_write)

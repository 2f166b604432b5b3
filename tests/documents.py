"""Code blocks of Markdown documents, and running them as a reader would: in a folder, in order."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\s*$")
_MARK = re.compile(r"^\s*<!--\s*(?P<mark>[\w-]+)\s*-->\s*$")


@dataclass(frozen=True)
class Block:
    """A fenced block: `mark` is the HTML comment on the line before its fence, `line` that of the fence."""

    language: str
    code: str
    line: int
    heading: str
    mark: str


def blocks_of(text: str) -> list[Block]:
    """The fenced blocks of a document, in order, freed of a list's indentation."""
    blocks: list[Block] = []
    heading = mark = ""
    lines = iter(enumerate(text.splitlines(), start=1))
    for number, line in lines:
        if opening := _FENCE.match(line):
            indent, body = opening["indent"], []
            for _, inner in lines:
                if inner.strip() == "```":
                    break
                body.append(inner.removeprefix(indent))
            blocks.append(Block(opening["language"], "\n".join(body) + "\n", number, heading, mark))
        elif line.startswith("#"):
            heading = line.lstrip("# ")
        found = _MARK.match(line)
        mark = found["mark"] if found else ""
    return blocks


@dataclass(frozen=True)
class Ran:
    """How a command ended: its exit code and all that it printed."""

    code: int
    output: str


def run(arguments: list[str], folder: Path, *, first_on_path: Path | None = None, timeout_s: float = 240.0) -> Ran:
    """Run a command in `folder`; programs in `first_on_path` come before all others."""
    path = os.environ["PATH"] if first_on_path is None else f"{first_on_path}{os.pathsep}{os.environ['PATH']}"
    environment = {
        **os.environ,
        "PATH": path,
        "XDG_CACHE_HOME": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "200",
    }
    done = subprocess.run(
        arguments,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return Ran(done.returncode, done.stdout)

"""Code blocks of Markdown documents, and running them as a reader would: in a folder, in order."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^(?P<indent>(?:> ?)? *)```(?P<language>\w*)\s*$")
_MARK = re.compile(r"^\s*<!--\s*(?P<mark>[\w-]+)\s*-->\s*$")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: the word behind the fence; empty where there is none.
        code: its lines, freed of the indentation of a list or of the marks of a quotation.
        line: the line of its opening fence, from 1.
        heading: the heading above it.
        mark: the HTML comment on the line before its fence.
        quoted: it stands in a quotation (`> ...`).
    """

    language: str
    code: str
    line: int
    heading: str
    mark: str
    quoted: bool = False


def blocks_of(text: str) -> list[Block]:
    """The fenced blocks of a document, in order."""
    blocks: list[Block] = []
    heading = mark = ""
    lines = iter(enumerate(text.splitlines(), start=1))
    for number, line in lines:
        if opening := _FENCE.match(line):
            indent, body = opening["indent"], []
            for _, inner in lines:
                line_of_code = inner.removeprefix(indent) if inner.strip() != indent.strip() else ""
                if line_of_code.strip() == "```":
                    break
                body.append(line_of_code)
            quoted = indent.startswith(">")
            blocks.append(Block(opening["language"], "\n".join(body) + "\n", number, heading, mark, quoted))
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

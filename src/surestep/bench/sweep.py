"""A table of benches over shapes and works, each in a process of its own, with other programs beside them.

What one of them does, running out of memory say, leaves the others as they are; what is measured is kept in a file, so
that a sweep that was stopped goes on. Other programs are scripts that print one JSON line: they are no part of the
product and may be absent, which the table says. Knows commands and their JSON; measures nothing itself.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surestep.bench.warm_up import still_warming
from surestep.files import write_text
from surestep.terminal_text import in_one_line
from surestep.untrusted import parse_json, read_json_lines

Json = dict[str, Any]
SHAPES_OF_SWEEP = ("135m", "0.6b", "1.7b", "4b", "8b", "30b-moe")
OURS = "surestep"
WORKS: Mapping[str, Sequence[str]] = {
    "lora": ("train", "--preset", "lora"),
    "full": ("train", "--preset", "full"),
    "score": ("score",),
}
"""What is measured, and the words of `surestep bench` that measure it."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another program on the same lengths.

    Attributes:
        name: as the table names it.
        work: which of `WORKS` it does.
        script: the file in the folder of peers that measures it.
        words: its arguments, before `--shape`.
        beside: how the names of our rows begin that do the same work.
    """

    name: str
    work: str
    script: str
    words: tuple[str, ...]
    beside: str = ""


PEERS = (
    Peer("TRL, batch 16", "lora", "peer_trl.py", ("--batch", "16")),
    Peer("padded, batch 16", "score", "peer_padded.py", ("score", "--batch", "16"), beside="mixed lengths"),
)
"""Nobody else's full fine-tuning is measured yet, nor are candidates that share their problem."""
_BESIDE = {peer.name: peer.beside for peer in PEERS}


@dataclass(frozen=True, slots=True)
class Cell:
    """One measurement: who does what on which shape, and the command that measures it."""

    shape: str
    work: str
    program: str
    command: tuple[str, ...]

    @property
    def key(self) -> tuple[str, ...]:
        """What a kept result must agree in."""
        return self.shape, self.work, self.program, *self.command[1:]  # another Python is no other measurement


Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def run_process(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """The command as a process, to its end."""
    return subprocess.run(command, capture_output=True, text=True, check=False)


def cells_of(
    shapes: Iterable[str],
    works: Sequence[str],
    *,
    ours: Sequence[str],
    flags: Sequence[str],
    peers: Path | None,
    peer_python: str,
    of_peers: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[Cell]:
    """All measurements, each of ours before its peer's.

    Args:
        shapes: names of `backbone_shapes.SHAPES`.
        works: keys of `WORKS`.
        ours: the words that start `surestep bench`.
        flags: what each of ours gets beside.
        peers: the folder with the peers' scripts; None for no peers.
        peer_python: the Python that runs them.
        of_peers: what each peer gets beside, by its work, so that it does as much as ours, on the same device.
    """
    for shape in shapes:
        for work in works:
            yield Cell(shape, work, OURS, (*ours, *WORKS[work], "--shape", shape, "--json", *flags))
            for peer in PEERS if peers is not None else ():
                if peer.work == work and peers is not None:
                    words = (peer_python, str(peers / peer.script), *peer.words, "--shape", shape)
                    yield Cell(shape, work, peer.name, (*words, *(of_peers or {}).get(work, ())))


def measured(cells: Sequence[Cell], log: Path, *, run: Run, say: Callable[[str], None]) -> list[Json]:
    """A result for each cell, in order; those in `log` are taken from there, the others measured and put there.

    A result has `shape`, `work`, `program`, `command`, and either `found`, the JSON that was printed, or `failed`, why
    there is none in a line. What failed is tried again by the next sweep.

    Raises:
        StorageError: the log cannot be written.
    """
    kept = list(read_json_lines(log)) if log.exists() else []
    done = {_key_of(result): result for result in kept if "found" in result}
    results: list[Json] = []
    for number, cell in enumerate(cells, start=1):
        result = done.get(cell.key)
        what = f"{number} of {len(cells)}: {cell.shape}, {cell.work}, {cell.program}"
        if result is None:
            say(f"{what} ...")
            result = _measure(cell, run)
            kept = [other for other in kept if _key_of(other) != cell.key] + [result]
            write_text(log, "".join(f"{json.dumps(line)}\n" for line in kept))
            if "failed" in result:
                say(f"{what}: {result['failed']}")
        else:
            say(f"{what}: measured before")
        results.append(result)
    return results


def _key_of(result: Json) -> tuple[str, ...]:
    names = (str(result.get(name)) for name in ("shape", "work", "program"))
    return (*names, *(str(word) for word in (result.get("command") or [])[1:]))


def _measure(cell: Cell, run: Run) -> Json:
    result: Json = {
        "shape": cell.shape,
        "work": cell.work,
        "program": cell.program,
        "command": list(cell.command),
    }
    if cell.program != OURS and not Path(cell.command[1]).is_file():
        return result | {"failed": f"{cell.command[1]} is not here"}
    ended = run(cell.command)
    lines = [line for line in ended.stdout.splitlines() if line.strip()]
    if ended.returncode == 0 and lines:
        try:
            found = parse_json(lines[-1])
        except ValueError:
            return result | {"failed": "its last line is no JSON"}
        return result | {"found": found}
    return result | {"failed": _why(ended)}


def _why(ended: subprocess.CompletedProcess[str]) -> str:
    """Why a process gave nothing, in a line."""
    if ended.returncode == -signal.SIGKILL:
        return "killed by the system (out of memory?)"
    said = [line for line in ended.stderr.splitlines() if line.strip()]
    last = in_one_line(said[-1])[:200] if said else ""
    if ended.returncode < 0:  # what it said last need not be why
        name = signal.Signals(-ended.returncode).name
        return f"ended by {name}; said last: {last}" if last else f"ended by {name}, without a word"
    return last or f"ended with exit code {ended.returncode}, without a word"


@dataclass(frozen=True, slots=True)
class TableRow:
    """One line of the table; None where there is no number, and `note` says why."""

    shape: str
    work: str
    tokens_per_s: float | None = None
    ceiling_share: float | None = None
    peak_gb: float | None = None
    spread: float | None = None
    peer: str = ""
    peer_tokens_per_s: float | None = None
    note: str = ""


def table_rows(results: Sequence[Json]) -> list[TableRow]:
    """A line for each row of ours, beside it the peer that does the same work.

    Peers that could not be measured are named in a note.

    >>> found = {"rows": [{"name": "x", "tokens_per_s": 10.0, "ceiling_share": 0.5, "peak_gb": 1.0, "spread": 0.1}]}
    >>> ours = {"shape": "4b", "work": "lora", "program": "surestep", "found": found}
    >>> row, = table_rows([ours, {"shape": "4b", "work": "lora", "program": "TRL", "failed": "no module trl"}])
    >>> row.tokens_per_s, row.note
    (10.0, 'TRL: no module trl')
    """
    rows: list[TableRow] = []
    for ours in (result for result in results if result["program"] == OURS):
        shape, work = ours["shape"], ours["work"]
        beside = [other for other in results if (other["shape"], other["work"]) == (shape, work)]
        peers = [other for other in beside if other["program"] != OURS]
        absent = "; ".join(f"{other['program']}: {other['failed']}" for other in peers if "failed" in other)
        found = next((other for other in peers if "found" in other), None)
        if "failed" in ours:
            rows.append(TableRow(shape, work, note="; ".join(filter(None, [ours["failed"], absent]))))
        for row in ours.get("found", {}).get("rows", ()):
            peer = found if found is not None and row["name"].startswith(_BESIDE.get(found["program"], "")) else None
            rows.append(
                TableRow(
                    shape,
                    f"{work}, {row['name']}",
                    tokens_per_s=row["tokens_per_s"],
                    ceiling_share=row["ceiling_share"],
                    peak_gb=row["peak_gb"],
                    spread=row["spread"],
                    peer="" if peer is None else peer["program"],
                    peer_tokens_per_s=None if peer is None else peer["found"]["tokens_per_s"],
                    note="; ".join(filter(None, [still_warming(row.get("settings", {})), absent])),
                )
            )
    return rows

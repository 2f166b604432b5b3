"""A table of benches over shapes and works, each in a process of its own, with other programs beside them.

What one of them does leaves the others as they are; what is measured is kept in a file, so that a sweep that was
stopped goes on. That something does not fit in memory is a finding, and kept as well. Other programs are scripts that
print one JSON line: they are no part of the product and may be absent, which the table says. Knows commands and their
JSON; measures nothing itself.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
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


def measured(
    cells: Sequence[Cell], log: Path, *, run: Run, say: Callable[[str], None], retry_unfit: bool = False
) -> list[Json]:
    """A result for each cell, in order; those in `log` are taken from there, the others measured and put there.

    A result has `shape`, `work`, `program`, `command`, and one of three: `found`, the JSON that was printed;
    `does_not_fit`, a finding as `memory.finding_of` gives it; `failed`, why there is neither in a line. What failed is
    tried again by the next sweep, what did not fit only with `retry_unfit`.

    Raises:
        StorageError: the log cannot be written.
    """
    kept = list(read_json_lines(log)) if log.exists() else []
    done = {_key_of(result): result for result in kept if "found" in result or "does_not_fit" in result}
    if retry_unfit:
        done = {key: result for key, result in done.items() if not unfit_of(result)}
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
            for finding in unfit_of(result):
                part = f", {finding['name']}" if "found" in result else ""
                say(f"{what}{part}: {_in_words(finding)}")
        elif unfit_of(result):
            say(f"{what}: measured before, and did not fit; --retry_unfit measures it again")
        else:
            say(f"{what}: measured before")
        results.append(result)
    return results


def unfit_of(result: Json) -> list[Json]:
    """What did not fit, of a result: all of it, or some of its rows."""
    if "does_not_fit" in result:
        return [result["does_not_fit"]]
    return list(result.get("found", {}).get("does_not_fit", ()))


def _in_words(finding: Json) -> str:
    """A finding in a line.

    >>> _in_words({"why": "out of memory", "needs_gb": None, "has_gb": 80.0})
    'does not fit in 80 GB (out of memory)'
    """
    has, needs = finding["has_gb"], finding["needs_gb"]
    where = "" if has is None else f" in {has:,.0f} GB"
    why = finding["why"] if needs is None else f"needs at least {needs:,.0f} GB"
    return f"does not fit{where} ({in_one_line(why)})"


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
    found: Any = None
    if lines:
        with suppress(ValueError):
            found = parse_json(lines[-1])
    if ended.returncode == 0 and isinstance(found, dict):
        return result | {"found": found}
    if unfit := _unfit(found, ended, cell):
        return result | {"does_not_fit": unfit}
    if ended.returncode == 0 and lines:
        return result | {"failed": "its last line is no JSON"}
    return result | {"failed": _why(ended)}


_MEMORY_ERROR = re.compile(
    r"([\w.]+\.)?(OutOfMemoryError|MemoryError)\b|([\w.]+: )?(CUDA error: )?out of memory\b"
    r"|RuntimeError: .*DefaultCPUAllocator"
)
"""How the error begins of a program that ran out of memory: Python's and torch's, and our own."""


def _unfit(found: Any, ended: subprocess.CompletedProcess[str], cell: Cell) -> Json | None:
    """The finding of a process that ended because its work does not fit; None where it ended for something else."""
    if isinstance(found, dict) and found.get("does_not_fit") and not found.get("rows"):
        return dict(found["does_not_fit"][0])  # ours says so, and what it needs
    said = ended.stderr.rpartition("Traceback (most recent call last)")[2] if ended.returncode > 0 else ""
    lines = [line for line in said.splitlines() if line.strip()]
    # Below a traceback's error torch adds lines of advice; without one, the last line alone is the error.
    for line in lines if said != ended.stderr else lines[-1:]:
        if _MEMORY_ERROR.match(line):
            return {"name": cell.shape, "why": in_one_line(line)[:200], "needs_gb": None, "has_gb": None}
    return None


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
    """One line of the table; None where there is no number, and `note` says why, or that it did not fit."""

    shape: str
    work: str
    tokens_per_s: float | None = None
    ceiling_share: float | None = None
    peak_gb: float | None = None
    spread: float | None = None
    peer: str = ""
    peer_tokens_per_s: float | None = None
    note: str = ""
    is_unfit: bool = False


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
        absent = "; ".join(filter(None, [_absence(other) for other in peers]))
        found = next((other for other in peers if "found" in other), None)
        if "failed" in ours:
            rows.append(TableRow(shape, work, note="; ".join(filter(None, [ours["failed"], absent]))))
        if "does_not_fit" in ours:
            note = "; ".join(filter(None, [_in_words(ours["does_not_fit"]), absent]))
            rows.append(TableRow(shape, work, note=note, is_unfit=True))
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
        rows += [
            TableRow(
                shape, f"{work}, {finding['name']}", note=f"{finding['name']}: {_in_words(finding)}", is_unfit=True
            )
            for finding in ours.get("found", {}).get("does_not_fit", ())
        ]
    return rows


def _absence(other: Json) -> str:
    """Why there is no figure of another program; "" where there is one."""
    if "failed" in other:
        return f"{other['program']}: {other['failed']}"
    return "; ".join(f"{other['program']}: {_in_words(finding)}" for finding in unfit_of(other))

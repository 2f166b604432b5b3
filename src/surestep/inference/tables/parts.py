"""The parts of an output that is being made, each written whole, and a state file that says what it is made from.

    OUT.state.json          what the output is made from, and when it is finished how many rows it has
    OUT.parts/000000.rows   the rows of a part, OUT.parts/000000.bad those that were not scored
    OUT.parts/000000.json   written last: how many there are, and a hash of the input rows they come from

A kill at any byte leaves parts that are whole: what is there is not scored again, and the output appears at its place
only when all of it is there. Several processes of one machine share the parts. Knows no row and no scorer.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from surestep.disk import real_path
from surestep.errors import ConfigError
from surestep.files import place_of, sha256_of, storage_errors, write_json, write_text, write_whole
from surestep.inference.tables.processes import Processes
from surestep.untrusted import read_json
from surestep.untrusted.bounds import shown

ADVICE = "free space or name another --output"
FORMAT_VERSION = 1
COUNTS = ("rows", "bad", "unscored")
"""What is counted of a part: rows written, rows that could not be scored, rows with a step beyond the model's limit."""
_WAIT_S = 0.05
_PART = re.compile(r"\.?(?:[0-9]{6,}\.(?:rows|bad|json)|problem_[0-9a-f]{32}\.json)")
"""Names of parts; one that is still being written has more behind it, and may be hidden."""

Begun = Literal["new", "continued", "finished"]


@dataclass(frozen=True)
class PartStore:
    """The parts of the output at `output`, and the file beside it for rows that were not scored."""

    output: Path
    bad_rows: Path
    processes: Processes

    @property
    def state_file(self) -> Path:
        """What the output is made from."""
        return self.output.with_name(f"{self.output.name}.state.json")

    @property
    def folder(self) -> Path:
        """Where the parts lie until the output is finished."""
        return self.output.with_name(f"{self.output.name}.parts")

    def _decided_by(self, made_from: Mapping[str, Any]) -> dict[str, Any]:
        """All that must be the same for a run to go on with what is there.

        Rows aside in a place of their own among it: another file there would be replaced, or taken away, in the end.
        """
        if self.bad_rows == bad_rows_beside(self.output):
            return dict(made_from)
        return {**made_from, "bad_rows_file": os.path.relpath(real_path(self.bad_rows), real_path(self.output).parent)}

    def _part(self, number: int, kind: str) -> Path:
        return self.folder / f"{number:06d}.{kind}"

    def begin(self, made_from: Mapping[str, Any], *, overwrite: bool) -> Begun:
        """Go on with what is there, or start anew; processes beside the first one wait for it.

        Args:
            made_from: all that decides the output, JSON-ready.
            overwrite: drop what is there.

        Raises:
            ConfigError: the output is there, or is being made from something else.
            StorageError: the folder cannot be written.
        """
        made_from = self._decided_by(made_from)
        if not self.processes.is_first:
            return self._join_others(made_from)
        state = {} if overwrite else self._state()
        if not state and not overwrite and (taken := [path for path in (self.output, self.bad_rows) if path.exists()]):
            raise ConfigError(f"{taken[0]} is there already; name another --output, or replace it with --overwrite")
        self._check_folder()
        if state and (other := _difference(state.get("made_from"), made_from)):
            raise ConfigError(
                f"{self.output} was begun from something else ({other}); finish it as it was begun, name another "
                "--output, or start anew with --overwrite"
            )
        if state.get("finished") and self.output.is_file():
            if sha256_of(self.output) != state["finished"].get("sha256"):
                raise ConfigError(
                    f"{self.output} was changed after it was finished; name another --output, or replace it with "
                    "--overwrite"
                )
            self._write_state(made_from, state["finished"])
            shutil.rmtree(self.folder, ignore_errors=True)
            return "finished"
        with storage_errors(self.folder, ADVICE):
            if overwrite or not state or state.get("finished"):
                shutil.rmtree(self.folder, ignore_errors=True)
                state = {}
            if overwrite:
                place_of(self.output).unlink(missing_ok=True)
                place_of(self.bad_rows).unlink(missing_ok=True)
            self.folder.mkdir(parents=True, exist_ok=True)
        self._write_state(made_from, None)
        return "continued" if state and any(self.folder.glob("*.json")) else "new"

    def _check_folder(self) -> None:
        """Refuse a folder of the user's own, which would be taken away in the end.

        Raises:
            ConfigError: it holds what is no part.
        """
        if self.folder.is_dir() and (
            foreign := sorted(path.name for path in self.folder.iterdir() if _PART.match(path.name) is None)
        ):
            raise ConfigError(
                f"{self.folder} holds {shown(foreign[0])}, which is no part of an output; move it, or name another "
                "--output"
            )

    def _join_others(self, made_from: Mapping[str, Any]) -> Begun:
        while True:
            self.processes.check_launcher()
            state = self._state()
            if state.get("launch") == self.processes.launch:
                if other := _difference(state.get("made_from"), made_from):
                    raise ConfigError(f"{self.output}: the processes of one run were started differently ({other})")
                return "finished" if state.get("finished") else "continued"
            time.sleep(_WAIT_S)

    def _state(self) -> dict[str, Any]:
        try:
            state = read_json(self.state_file)
        except (FileNotFoundError, NotADirectoryError):  # the latter is said when it is written
            return {}
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{self.state_file} cannot be read ({shown(str(error))}); start anew with --overwrite"
            ) from None
        if not isinstance(state, dict) or state.get("format_version") != FORMAT_VERSION:
            raise ConfigError(f"{self.state_file} was written by another Surestep; start anew with --overwrite")
        if (finished := state.get("finished")) is not None and not _is_count(finished):
            raise ConfigError(f"{self.state_file} does not say what was finished; start anew with --overwrite")
        return state

    def _write_state(self, made_from: Mapping[str, Any], finished: Mapping[str, Any] | None) -> None:
        values = {
            "format_version": FORMAT_VERSION,
            "made_from": dict(made_from),
            "launch": self.processes.launch,
            "finished": finished,
        }
        write_json(self.state_file, values, advice=ADVICE)

    def read(self, number: int) -> dict[str, Any] | None:
        """What was written of a part beside its rows; None where it is not there whole."""
        try:
            values = read_json(self._part(number, "json"))
            is_whole = self._part(number, "rows").stat().st_size == values["size"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return values if is_whole else None

    def write(
        self, number: int, write_rows: Callable[[IO[bytes]], None], bad: Sequence[str], notes: Mapping[str, Any]
    ) -> None:
        """Make a part, its description last.

        Raises:
            StorageError: the disk is full, say; what is there stays.
        """
        rows = self._part(number, "rows")
        with write_whole(rows, "wb", advice=ADVICE) as file:
            write_rows(file)
        write_text(self._part(number, "bad"), "".join(f"{line}\n" for line in bad), advice=ADVICE)
        write_json(self._part(number, "json"), {**notes, "size": rows.stat().st_size}, advice=ADVICE)

    def finish(self, count: int, made_from: Mapping[str, Any], join: Callable[[Sequence[Path], Path], None]) -> None:
        """Put the output in its place once every part is there, then take the parts away.

        Raises:
            StorageError: the disk is full, say; every part stays.
        """
        while any(self.read(number) is None for number in range(count)):  # other processes are at work on them
            self.processes.check_launcher()
            time.sleep(_WAIT_S)
        totals = dict.fromkeys(COUNTS, 0)
        for number in range(count):
            found = self.read(number) or {}
            totals = {name: total + int(found.get(name, 0)) for name, total in totals.items()}
        self._join_bad(count, any_bad=totals["bad"] > 0)
        join([self._part(number, "rows") for number in range(count)], self.output)
        self._write_state(self._decided_by(made_from), {**totals, "sha256": sha256_of(self.output)})
        shutil.rmtree(self.folder, ignore_errors=True)

    def totals(self) -> dict[str, int]:
        """Of a finished output: how many rows it has, how many were not scored, and so on (`COUNTS`)."""
        finished = self._state().get("finished") or {}
        return {name: int(finished.get(name, 0)) for name in COUNTS}

    def _join_bad(self, count: int, *, any_bad: bool) -> None:
        if not any_bad:
            place_of(self.bad_rows).unlink(missing_ok=True)
            return
        with write_whole(self.bad_rows, "wb", advice=ADVICE) as file:
            for number in range(count):
                with self._part(number, "bad").open("rb") as piece:
                    shutil.copyfileobj(piece, file)

    def wait_until_finished(self) -> None:
        """Of a process beside the first one: the output is there when it ends."""
        while not self._state().get("finished"):
            self.processes.check_launcher()
            time.sleep(_WAIT_S)


def bad_rows_beside(output: Path) -> Path:
    """Where rows that were not scored go unless the user says otherwise.

    >>> bad_rows_beside(Path("rows.scored.csv")).name
    'rows.scored.csv.bad.jsonl'
    """
    return output.with_name(f"{output.name}.bad.jsonl")


def _is_count(finished: Any) -> bool:
    return isinstance(finished, dict) and all(type(finished.get(name)) is int for name in COUNTS)


def _difference(then: Any, now: Mapping[str, Any]) -> str:
    """The first thing in which an output that was begun differs, in words; empty where there is none."""
    if not isinstance(then, dict):
        return "its state file does not say what"
    for name in sorted({*then, *now}):
        if then.get(name) != now.get(name):
            return f"{name.replace('_', ' ')}: then {shown(then.get(name))}, now {shown(now.get(name))}"
    return ""

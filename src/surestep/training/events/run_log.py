"""`metrics.jsonl`: everything that a run tells, a JSON object a line."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from surestep.errors import CheckpointError
from surestep.files import RUN_LOG, storage_errors, write_text
from surestep.training.events import RunView, TrainingEvents
from surestep.training.events.records import StepDone, StepRecord, ValidationRecord
from surestep.untrusted import read_json_lines


class RunLog(TrainingEvents):
    """One JSON object a line: `kind` is `step`, `validation`, `checkpoint` or `note`; `phase` its phase, if it has one.

    After a resume, lines beyond the resumed step are cut, so that the file reads like that of an uninterrupted run.

    Raises:
        StorageError: the file cannot be written.
    """

    def __init__(self, folder: Path, *, resumed_step: int) -> None:
        self.path = folder / RUN_LOG
        kept = [line for line in self._lines() if line.get("step", 0) <= resumed_step] if resumed_step else []
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self._step = resumed_step
        self._run: RunView | None = None

    def _lines(self) -> list[dict[str, Any]]:
        """What the run wrote before; a line that has no step is of no run of ours.

        Raises:
            CheckpointError: the log cannot be read.
        """
        try:
            lines = list(read_json_lines(self.path)) if self.path.exists() else []
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CheckpointError(f"{self.path} cannot be read ({reason}); move it away and resume again") from None
        return [line for line in lines if isinstance(line.get("step", 0), int)]

    def _write(self, kind: str, values: dict[str, Any]) -> None:
        with storage_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **values}) + "\n")

    def _write_of_phase(self, kind: str, values: dict[str, Any]) -> None:
        """A line of the step last done, with the phase that it belongs to, where the run has phases."""
        phase = None if self._run is None else self._run.phase
        self._write(kind, values if phase is None else {**values, "phase": phase})

    def started(self, run: RunView) -> None:
        self._run = run

    def say(self, line: str) -> None:
        self._write("note", {"step": self._step, "text": line})

    def step_done(self, done: StepDone) -> None:
        self._step = done.step

    def logged(self, record: StepRecord) -> None:
        self._write_of_phase("step", asdict(record))

    def validated(self, record: ValidationRecord) -> None:
        self._write_of_phase("validation", asdict(record))

    def saved(self, folder: Path) -> None:
        self._write_of_phase("checkpoint", {"step": self._step, "folder": folder.name})

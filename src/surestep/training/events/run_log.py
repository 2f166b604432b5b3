"""Log files of a run: `metrics.jsonl` always, TensorBoard where it is installed and wanted."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from surestep.training.events.records import StepRecord, ValidationRecord

METRICS_FILE = "metrics.jsonl"


class MetricsFile:
    """One JSON object a line: `kind` is `step`, `validation`, `checkpoint` or `note`.

    After a resume, lines beyond the resumed step are cut, so that the file reads like that of an uninterrupted run.
    """

    def __init__(self, folder: Path, *, resumed_step: int) -> None:
        self.path = folder / METRICS_FILE
        kept = [line for line in self._lines() if line.get("step", 0) <= resumed_step] if resumed_step else []
        self.path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._step = resumed_step

    def _lines(self) -> list[dict[str, Any]]:
        lines = []
        for text in self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else []:
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                continue  # a run killed while it wrote leaves half a line at the end
        return lines

    def _write(self, kind: str, values: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **values}) + "\n")

    def say(self, line: str) -> None:
        self._write("note", {"step": self._step, "text": line})

    def started(self, *, first_step: int, max_steps: int) -> None:
        """Nothing to keep: the configuration is saved beside."""

    def stepped(self, step: int) -> None:
        self._step = step

    def logged(self, record: StepRecord) -> None:
        self._write("step", asdict(record))

    def validated(self, record: ValidationRecord) -> None:
        self._write("validation", asdict(record))

    def saved(self, folder: Path) -> None:
        self._write("checkpoint", {"step": self._step, "folder": folder.name})

    def finished(self) -> None:
        """Every line was closed when it was written."""


class TensorBoardLog:
    """Scalars under `train/` and `validation/`."""

    def __init__(self, folder: Path, *, resumed_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # purge_step hides what an interrupted run logged beyond the checkpoint it resumes from.
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=resumed_step + 1 if resumed_step else None)

    @staticmethod
    def is_installed() -> bool:
        """Whether the `tensorboard` package is there."""
        return find_spec("tensorboard") is not None

    def say(self, line: str) -> None:
        """Text belongs to the metrics file."""

    def started(self, *, first_step: int, max_steps: int) -> None:
        """Nothing to write."""

    def stepped(self, step: int) -> None:
        """Scalars come by interval."""

    def logged(self, record: StepRecord) -> None:
        for name in ("loss", "learning_rate", "grad_norm", "tokens_per_s", "labels_per_s", "memory_gb"):
            self._writer.add_scalar(f"train/{name}", getattr(record, name), record.step)

    def validated(self, record: ValidationRecord) -> None:
        for name, figures in {"mean": record.mean, **record.per_dataset}.items():
            for figure, value in figures.items():
                if isinstance(value, float):
                    self._writer.add_scalar(f"validation/{figure}/{name}", value, record.step)
        self._writer.flush()

    def saved(self, folder: Path) -> None:
        """Nothing to write."""

    def finished(self) -> None:
        self._writer.close()

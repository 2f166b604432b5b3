"""Where a benchmark's confidences come from: a checkpoint that scores them now, or a file that another scorer wrote.

    {"subset": "gsm8k", "id": "gsm8k-0", "confidences": [0.98, 0.31, null]}

One solution a line, one confidence for each of its steps, null where a step was not scored; `subset` may be left out
where ids are unique. `--save_predictions` writes the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from surestep.config import Config
from surestep.data.records.record import Record, read_records
from surestep.errors import DataError
from surestep.files import sha256_of
from surestep.scoring.checkpoint.load import LoadedCheckpoint
from surestep.scoring.checkpoint.manifest import MANIFEST
from surestep.types import ReasoningTree

Confidences = list[float | None]

_CHUNK = 256
"""Trees scored between two signs of progress."""


@dataclass(frozen=True, slots=True)
class ToScore:
    """A tree and the subset that, with its id, names it in a file of confidences."""

    subset: str
    tree: ReasoningTree


class StepScores(Protocol):
    """A source of confidences."""

    def about(self) -> dict[str, Any]:
        """What the result file says of the scorer."""

    def score(self, title: str, items: Sequence[ToScore]) -> list[Confidences]:
        """A confidence for every node of every tree; None where it could not be scored."""


@dataclass
class CheckpointScores:
    """Confidences of a checkpoint.

    Attributes:
        progress: shows how far it is.
        calibrated: apply the checkpoint's calibration, where it has one.
    """

    loaded: LoadedCheckpoint
    config: Config
    progress: Callable[[str], Callable[[int], None]]
    calibrated: bool = True

    def about(self) -> dict[str, Any]:
        """Which checkpoint, what it is built on, and how it was run."""
        manifest, built = self.loaded.manifest, self.loaded.built
        return {
            "checkpoint": str(self.loaded.folder),
            "manifest_sha256": sha256_of(self.loaded.folder / MANIFEST),
            "step": manifest.step,
            "backbone": manifest.backbone,
            "formatter_hash": manifest.formatter_hash,
            "calibration": {
                "stored": built.calibration is not None,
                "applied": "pooled" if self.calibrated and built.calibration is not None else "none",
            },
            "attention": built.model.route,
            "precision": built.hardware.precision,
            "settings": self.config.to_dict(),
        }

    def score(self, title: str, items: Sequence[ToScore]) -> list[Confidences]:
        """Score them now."""
        advance = self.progress(f"scoring {title}")
        scorer = self.loaded.built.scorer(self.config, calibrated=self.calibrated)
        found: list[Confidences] = []
        for start in range(0, len(items), _CHUNK):
            trees = [item.tree for item in items[start : start + _CHUNK]]
            found += scorer.score(trees)
            advance(len(trees))
        return found


@dataclass
class FileScores:
    """Confidences of a file.

    Raises:
        DataError: on `read`: the file is broken, or a confidence is outside [0, 1]; on `score`: a solution is not in it
            or has another number of steps.
    """

    path: Path
    rows: dict[tuple[str, str], tuple[Confidences, int]]
    used: dict[tuple[str, str], str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> FileScores:
        """Every row of `path`."""
        rows: dict[tuple[str, str], tuple[Confidences, int]] = {}
        for record in read_records(path):
            key = (record.optional_text("subset") or "", record.text("id"))
            if key in rows:
                raise record.error(f"id {key[1]!r} stands on line {rows[key][1]} too; name the subset of each")
            rows[key] = (_confidences(record), record.line)
        if not rows:
            raise DataError("holds no confidences", path=path)
        return cls(path, rows)

    def about(self) -> dict[str, Any]:
        """Which file."""
        return {
            "predictions": str(self.path),
            "predictions_sha256": sha256_of(self.path),
            "predictions_not_used": len(self.rows) - len(self.used),
        }

    def score(self, title: str, items: Sequence[ToScore]) -> list[Confidences]:
        """Look them up."""
        found: list[Confidences] = []
        asked: set[tuple[str, str]] = set()
        for item in items:
            name = (item.subset, item.tree.id)
            if name in asked:
                raise DataError(
                    f"two solutions of {item.subset} have the id {item.tree.id!r}, so that a file of confidences "
                    "cannot tell them apart; give each an id of its own"
                )
            asked.add(name)
            key = name if name in self.rows else ("", item.tree.id)
            if key not in self.rows:
                raise DataError(
                    f"holds no confidences for the solution {item.tree.id!r} of {item.subset}; needed: a row for each "
                    "solution of --data",
                    path=self.path,
                )
            values, line = self.rows[key]
            if len(values) != len(item.tree.nodes):
                raise DataError(
                    f"{len(values)} confidences for {item.tree.id!r} of {len(item.tree.nodes)} steps; give one each",
                    path=self.path,
                    line=line,
                )
            if self.used.setdefault(key, item.subset) != item.subset:
                raise DataError(
                    f"id {key[1]!r} is in {self.used[key]} and in {item.subset}; name the 'subset' of each row",
                    path=self.path,
                    line=line,
                )
            found.append(values)
        return found


def _confidences(record: Record) -> Confidences:
    if not isinstance(record.values.get("confidences"), list):
        raise record.error(f"'confidences' is {record.values.get('confidences')!r}; allowed: a list, one for each step")
    values: Confidences = []
    for number, value in enumerate(record.items("confidences"), start=1):
        # NaN fails the comparison too.
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0
        ):
            raise record.error(f"confidence {number} is {value!r}; allowed: a number from 0 to 1, or null")
        values.append(None if value is None else float(value))
    return values

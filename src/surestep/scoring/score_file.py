"""A scorer that looks confidences up in a file, which any other scorer may have written.

    {"subset": "gsm8k", "id": "gsm8k-0", "confidences": [0.98, 0.31, null]}

One solution a line, one confidence for each of its steps, null where a step was not scored; `subset` may be left out
where ids are unique. `--save_predictions` writes the same. A tree's subset is the dataset that it names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from surestep.data.records.labels import read_name
from surestep.data.records.record import Record, read_records
from surestep.errors import DataError
from surestep.files import sha256_of
from surestep.scoring.protocol import TreeScores, Wanted
from surestep.types import ReasoningTree

Confidences = list[float | None]


@dataclass
class FileScorer:
    """Confidences of a file.

    Raises:
        DataError: on `read`: the file is broken, or a confidence is outside [0, 1]; on `score`: a solution is not in it
            or has another number of steps.
    """

    path: Path
    rows: dict[tuple[str, str], tuple[Confidences, int]]
    used: dict[tuple[str, str], str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> FileScorer:
        """Every row of `path`."""
        rows: dict[tuple[str, str], tuple[Confidences, int]] = {}
        for record in read_records(path):
            key = (read_name(record, "subset"), read_name(record, "id"))
            if not key[1]:
                raise record.error("'id' is missing; allowed: text or a whole number")
            if key in rows:
                raise record.error(f"id {key[1]!r} stands on line {rows[key][1]} as well; name the subset of each")
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

    def holds(self, tree: ReasoningTree) -> bool:
        """Whether the file has a row for this solution."""
        return (tree.dataset, tree.id) in self.rows or ("", tree.id) in self.rows

    def score(
        self, trees: Sequence[ReasoningTree], *, dataset: str | None = None, wanted: Wanted = "all"
    ) -> Iterator[TreeScores]:
        """Look them up; what the file says is given as it is, whatever is asked for."""
        asked: set[tuple[str, str]] = set()
        for tree in trees:
            name = (tree.dataset, tree.id)
            if name in asked:
                raise DataError(
                    f"two solutions of {tree.dataset} have the id {tree.id!r}, so that a file of confidences "
                    "cannot tell them apart; give each an id of its own"
                )
            asked.add(name)
            confidence_N = np.array([np.nan if value is None else value for value in self._find(tree)], np.float64)
            yield TreeScores(confidence_N, confidence_N)

    def _find(self, tree: ReasoningTree) -> Confidences:
        if not tree.nodes and not self.holds(tree):
            return []  # without a step there is nothing to say
        key = (tree.dataset, tree.id) if (tree.dataset, tree.id) in self.rows else ("", tree.id)
        if key not in self.rows:
            raise DataError(
                f"holds no confidences for the solution {tree.id!r} of {tree.dataset}; needed: a row for each "
                "solution of --data",
                path=self.path,
            )
        values, line = self.rows[key]
        if len(values) != len(tree.nodes):
            raise DataError(
                f"{len(values)} confidences for {tree.id!r} of {len(tree.nodes)} steps; give one each",
                path=self.path,
                line=line,
            )
        if self.used.setdefault(key, tree.dataset) != tree.dataset:
            raise DataError(
                f"id {key[1]!r} is in {self.used[key]} and in {tree.dataset}; name the 'subset' of each row",
                path=self.path,
                line=line,
            )
        return values


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

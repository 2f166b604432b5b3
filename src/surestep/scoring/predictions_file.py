"""`predictions.jsonl`: one scored step a line, ours or any other scorer's.

    {"dataset": "prm800k", "problem_id": "...", "step": 3, "position": 2, "confidence": 0.91, "label": 1.0, ...}

Needed are `confidence` and `label`; a row whose label is null is counted and left out. `dataset` (else "all"),
`problem_id` (else every row is a problem of its own), `group` (else `problem_id`), which keeps choices of one question
together, since they are not independent; `position` (else 1) and `true_confidence` are used where present,
and so is `raw_confidence`, the score before a calibration map, which the ranking figures read (else `confidence`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surestep.data.records.record import read_records
from surestep.errors import DataError
from surestep.scored import ScoredSteps


@dataclass(frozen=True)
class PredictionsFile:
    """What a predictions file holds: its labelled rows, and how many of each dataset had no label."""

    predictions: ScoredSteps
    unlabelled: dict[str, int]

    @property
    def num_unlabelled(self) -> int:
        """Rows without a label, over all datasets."""
        return sum(self.unlabelled.values())


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write `rows` to `path`, beside first and then in place; returns how many."""
    beside = path.with_suffix(".part")
    count = 0
    with beside.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    beside.replace(path)
    return count


def predictions_of_rows(
    rows: Iterable[tuple[Mapping[str, Any], int | None]], *, path: Path | None = None
) -> PredictionsFile:
    """Columns of rows, each with its line for messages.

    Raises:
        DataError: a confidence or label is missing, not a number, or outside [0, 1]; the first such row is named.
    """
    columns: dict[str, list[Any]] = {name: [] for name in ("confidence", "label", "dataset", "position", "true", "raw")}
    datasets: dict[str, int] = {}
    problems: dict[tuple[int, str], int] = {}
    problem_column: list[int] = []
    unlabelled: dict[str, int] = {}
    for number, (row, line) in enumerate(rows):
        confidence = _number(row, "confidence", path, line)
        if confidence is None:
            raise DataError("the row has no confidence; needed: a number from 0 to 1", path=path, line=line)
        label = _number(row, "label", path, line)
        name = str(row.get("dataset", "all"))
        # A dataset without a label keeps its place: its section then says that nothing was measured.
        dataset = datasets.setdefault(name, len(datasets))
        if label is None:
            unlabelled[name] = unlabelled.get(name, 0) + 1
            continue
        key = (dataset, str(row.get("group") or row.get("problem_id", f"\0{number}")))
        columns["confidence"].append(confidence)
        columns["label"].append(label)
        columns["dataset"].append(dataset)
        columns["position"].append(_position(row, path, line))
        true = _number(row, "true_confidence", path, line)
        columns["true"].append(math.nan if true is None else true)
        raw = _number(row, "raw_confidence", path, line)
        columns["raw"].append(confidence if raw is None else raw)
        problem_column.append(problems.setdefault(key, len(problems)))
    if not problem_column:
        raise DataError("no row has a label, so there is nothing to measure", path=path)
    predictions = ScoredSteps.of_columns(
        confidence=np.array(columns["confidence"], np.float64),
        label=np.array(columns["label"], np.float64),
        dataset=np.array(columns["dataset"], np.int64),
        dataset_names=tuple(datasets),
        problem=np.array(problem_column, np.int64),
        position=np.array(columns["position"], np.int64),
        true_confidence=np.array(columns["true"], np.float64),
        raw_confidence=np.array(columns["raw"], np.float64),
    )
    return PredictionsFile(predictions, unlabelled)


def read_predictions(path: Path) -> PredictionsFile:
    """Read a predictions file.

    Raises:
        DataError: it is missing, cut, or a row is malformed; the message names the line.
    """
    return predictions_of_rows(((record.values, record.line) for record in read_records(path)), path=path)


def _number(row: Mapping[str, Any], name: str, path: Path | None, line: int | None) -> float | None:
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool):
        return float(value)
    if not isinstance(value, int | float) or not 0.0 <= value <= 1.0:  # NaN fails the comparison too
        raise DataError(f"{name} is {value!r}; allowed: a number from 0 to 1", path=path, line=line)
    return float(value)


def _position(row: Mapping[str, Any], path: Path | None, line: int | None) -> int:
    value = row.get("position", 1)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise DataError(f"position is {value!r}; allowed: a whole number from 1", path=path, line=line)
    return value

"""Predictions as columns, and as the file `predictions.jsonl.gz`: one scored step a line.

    {"dataset": "prm800k", "problem_id": "...", "step": 3, "position": 2, "confidence": 0.91, "label": 1.0, ...}

Files of any scorer are read, in the layouts of `surestep.scoring.predictions.layouts`. Needed are `confidence` and
`label`; a step whose label is null is in no figure. `dataset` (else "all"), `position` (else 1) and `true_confidence`
are used where present, and so is `raw_confidence`, the score before a calibration map, which the ranking figures read
(else `confidence`). `problem_id` with `step` and `parent` says how steps follow each other.

What a problem is: `group` where a row has one (choices of one question share it, since they are not independent), else
the text of `problem`, else `problem_id`, else every row is a problem of its own. Names are read as in training data: 7,
7.0, "7" and " 7 " are one, and NaN, null and blank text are none.
"""

from __future__ import annotations

import gzip
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from surestep.collector import seldom_collecting
from surestep.data.records.record import Record
from surestep.data.trees.identity import normalize_text
from surestep.files import write_whole
from surestep.scored import IntArray, ScoredSteps, StepTexts
from surestep.scoring.predictions.layouts import Row, read_row
from surestep.scoring.predictions.row_columns import RowColumns
from surestep.scoring.predictions.row_names import ids_number_rows, solution_and_problem
from surestep.scoring.predictions.shared_reading import read_columns


def write_predictions(path: Path, steps: ScoredSteps, *, is_calibrated: bool | None = None) -> int:
    """Write every scored step of `steps` to `path`, compressed where it ends with `.gz`; returns how many.

    Args:
        path: the file.
        steps: what was scored.
        is_calibrated: whether a map was applied, so that rows hold the raw confidence too; unset: where one differs.

    Raises:
        StorageError: the file cannot be written; what was there is as it was.
    """
    return write_rows(path, rows_of(steps, is_calibrated=is_calibrated))


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write `rows` to `path`, a line of JSON each, compressed where it ends with `.gz`; returns how many.

    Raises:
        StorageError: the file cannot be written; what was there is as it was.
        ValueError: a number is not finite.
    """
    count = 0
    with write_whole(path, "wb") as file:
        # Without a time in its header, the same rows are the same bytes.
        packed = gzip.GzipFile("", "wb", 6, file, mtime=0) if path.name.endswith(".gz") else file
        text = io.TextIOWrapper(packed, encoding="utf-8", newline="", write_through=False)
        for row in rows:
            text.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
        text.flush()
        text.detach()
        if packed is not file:
            packed.close()
    return count


def rows_of(steps: ScoredSteps, *, is_calibrated: bool | None = None) -> Iterator[Row]:
    """Every row of `steps` that has a confidence, as the file holds it (`is_calibrated` as in `write_predictions`).

    Where the text of a step is not known (`steps.texts`), the row has none.
    """
    texts = steps.texts
    if is_calibrated is None:
        is_calibrated = bool((steps.confidence != steps.raw_confidence)[~np.isnan(steps.confidence)].any())
    names = _tree_names(steps)
    columns = zip(
        *(getattr(steps, name).tolist() for name in ("confidence", "raw_confidence", "label", "true_confidence")),
        *(getattr(steps, name).tolist() for name in ("num_ratings", "dataset", "tree", "step", "parent", "position")),
        strict=True,
    )
    for index, (confidence, raw, label, true, ratings, dataset, tree, step, parent, position) in enumerate(columns):
        if math.isnan(confidence):
            continue
        row: Row = {"dataset": steps.dataset_names[dataset]}
        group = texts.group(index) if texts is not None else ""
        row |= {"problem_id": names[tree]} | ({"group": group} if group else {})
        row |= {"step": step, "parent": parent, "position": position}
        row |= {"confidence": confidence} | ({"raw_confidence": raw} if is_calibrated else {})
        row |= {"label": None if math.isnan(label) else label, "num_ratings": ratings}
        row |= {} if math.isnan(true) else {"true_confidence": true}
        yield row | _texts_of(texts, index)


def _tree_names(steps: ScoredSteps) -> dict[int, str]:
    """A name of its own in its dataset for each tree with a row: its id, else its group or its problem's text."""
    names: dict[int, str] = {}
    taken: dict[tuple[int, str], int] = {}
    trees, first_rows = np.unique(steps.tree, return_index=True)
    for tree, row in zip(trees.tolist(), first_rows.tolist(), strict=True):
        name = steps.tree_ids[tree]
        if not name and steps.texts is not None:
            name = steps.texts.group(row) or normalize_text(steps.texts.problem(row))
        name = name or str(tree)
        key = (int(steps.dataset[row]), name)
        number = taken[key] = taken.get(key, 0) + 1
        names[tree] = name if number == 1 else f"{name}#{number}"
    return names


def _texts_of(texts: StepTexts | None, row: int) -> Row:
    if texts is None:
        return {}
    context = texts.context(row)
    return {"problem": texts.problem(row), "text": texts.step(row)} | ({"context": context} if context else {})


class RowView(Mapping[str, Any]):
    """One row of `RowsInView`: its values are looked up when they are asked for."""

    __slots__ = ("_index", "_rows")

    def __init__(self, rows: RowsInView, index: int) -> None:
        self._rows, self._index = rows, index

    def __getitem__(self, name: str) -> Any:
        value = self._rows.value(self._index, name)
        if _is_absent(name, value):
            raise KeyError(name)
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """A value; `default` where the row has none, or null."""
        value = self._rows.value(self._index, name)
        return default if _is_absent(name, value) else value

    def whole(self) -> Row:
        """The row as `rows_of` gives it."""
        return self._rows.whole(self._index)

    def __iter__(self) -> Iterator[str]:
        return iter(self.whole())

    def __len__(self) -> int:
        return len(self.whole())


class RowsInView(Sequence[RowView]):
    """The rows of `rows_of`, made as they are asked for: a million of them as dictionaries are a gigabyte.

    >>> steps = ScoredSteps.of_columns([0.5, 0.25], [1.0, 0.0])
    >>> rows = RowsInView(steps)
    >>> rows[1]["confidence"], [dict(row) for row in rows] == list(rows_of(steps))
    (0.25, True)
    """

    def __init__(self, steps: ScoredSteps) -> None:
        self._steps, self._texts = steps, steps.texts
        self._names = _tree_names(steps)
        is_scored = ~np.isnan(steps.confidence)
        self._places = np.flatnonzero(is_scored)
        self._is_calibrated = bool((steps.confidence != steps.raw_confidence)[is_scored].any())

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> RowView:  # type: ignore[override]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return RowView(self, int(self._places[index]))

    def column(self, name: str, default: Any = None) -> list[Any]:
        """What `get(name, default)` of every row gives, without making the rows."""
        if name in _NUMBERS_OF_ROW:
            values = self._numbers(name, self._places)
        else:
            values = [self.value(place, name) for place in self._places.tolist()]
        if default is None or name in _MAY_BE_NULL:
            return values
        return [default if value is None else value for value in values]

    def value(self, place: int, name: str) -> Any:
        """A value of the row at `place` of the steps; None where it has none, or null."""
        steps = self._steps
        if name == "dataset":
            return steps.dataset_names[steps.dataset[place]]
        if name == "problem_id":
            return self._names[int(steps.tree[place])]
        if name in _NUMBERS_OF_ROW:
            return self._numbers(name, slice(place, place + 1))[0]
        if self._texts is None or name not in {"problem", "text", "context", "group"}:
            return None
        text = self._texts.step(place) if name == "text" else getattr(self._texts, name)(place)
        return text if text or name in {"problem", "text"} else None

    def _numbers(self, name: str, places: IntArray | slice) -> list[Any]:
        """Numbers of rows; None where one is not known, or is a raw confidence of which no map made another."""
        is_said = name != "raw_confidence" or self._is_calibrated
        numbers = getattr(self._steps, name)[places].tolist()
        return [number if is_said and number == number else None for number in numbers]

    def whole(self, place: int) -> Row:
        """The row at `place` of the steps, as `rows_of` gives it."""
        row = {name: self.value(place, name) for name in _ROW}
        return {name: value for name, value in row.items() if not _is_absent(name, value)}


def _is_absent(name: str, value: Any) -> bool:
    """Whether a row has no such field."""
    return value is None and name not in _MAY_BE_NULL


_MAY_BE_NULL = frozenset({"label"})
"""Fields that a row has whatever their value."""


_ROW = (
    *("dataset", "problem_id", "group", "step", "parent", "position", "confidence", "raw_confidence", "label"),
    *("num_ratings", "true_confidence", "problem", "text", "context"),
)
_NUMBERS_OF_ROW = frozenset(
    {"confidence", "raw_confidence", "label", "true_confidence", "num_ratings", "step", "parent", "position"}
)


def read_predictions(path: Path) -> ScoredSteps:
    """Read a predictions file, whatever its layout; a step that was not scored keeps its row, with NaN.

    Raises:
        DataError: it is missing, cut, or a row is malformed; the message names the line.
    """
    with seldom_collecting():
        return read_columns(path).steps()


def steps_of_rows(rows: Iterable[tuple[Mapping[str, Any], int | None]], *, path: Path | None = None) -> ScoredSteps:
    """Rows, each with its line for messages, as columns.

    Raises:
        DataError: a confidence or label is missing, not a number, or outside [0, 1], or `read_row` refuses a row; the
            first such row is named.
    """
    found = RowColumns(path)
    records = [Record(dict(row), path or Path("rows"), line or 0) for row, line in rows]
    numbered = ids_number_rows(records)
    for record in records:
        found.add(read_row(record, *solution_and_problem(record, ids_number_rows=numbered)), record.line or None)
    return found.steps()

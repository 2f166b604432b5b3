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
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from surestep.data.records.record import Record
from surestep.data.trees.identity import key_of, normalize_text
from surestep.errors import DataError
from surestep.files import write_whole
from surestep.scored import FIRST_STEP, ListedTexts, ScoredSteps, StepTexts, problem_hash
from surestep.scoring.predictions.layouts import Row, read_parts, read_row
from surestep.untrusted.bounds import shown


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


def read_predictions(path: Path) -> ScoredSteps:
    """Read a predictions file, whatever its layout; a step that was not scored keeps its row, with NaN.

    Raises:
        DataError: it is missing, cut, or a row is malformed; the message names the line.
    """
    found = _Rows(path)
    for part in read_parts(path):
        for row in part.rows:
            found.add(row, part.record.line, may_lack_confidence=part.is_solution)
    return found.steps()


def steps_of_rows(rows: Iterable[tuple[Mapping[str, Any], int | None]], *, path: Path | None = None) -> ScoredSteps:
    """Rows, each with its line for messages, as columns.

    Raises:
        DataError: a confidence or label is missing, not a number, or outside [0, 1], or `read_row` refuses a row; the
            first such row is named.
    """
    found = _Rows(path)
    for row, line in rows:
        found.add(read_row(Record(dict(row), path or Path("rows"), line or 0)), line)
    return found.steps()


class _Rows:
    """Columns that grow by a row at a time."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._numbers: dict[str, list[float]] = {name: [] for name in ("confidence", "raw", "label", "true")}
        self._whole: dict[str, list[int]] = {
            name: [] for name in ("ratings", "dataset", "problem", "tree", "step", "parent", "position")
        }
        self._texts: dict[str, list[Any]] = {name: [] for name in ("problem", "text", "context", "group")}
        self._datasets: dict[str, int] = {}
        self._problems: dict[str, int] = {}
        self._trees: dict[tuple[int, Any], int] = {}
        self._tree_ids: list[str] = []
        self._last_step: dict[int, int] = {}
        self._has_texts = True

    def add(self, row: Mapping[str, Any], line: int | None, *, may_lack_confidence: bool = False) -> None:
        """One more row, as `read_row` gives it."""
        confidence = self._number(row, "confidence", line)
        if confidence is None and not may_lack_confidence:
            raise DataError("the row has no confidence; needed: a number from 0 to 1", path=self._path, line=line)
        raw, label = self._number(row, "raw_confidence", line), self._number(row, "label", line)
        true = self._number(row, "true_confidence", line)
        if confidence is None or raw is None:
            raw = confidence  # without the one there is neither
        for name, known in (("confidence", confidence), ("raw", raw), ("label", label), ("true", true)):
            self._numbers[name].append(math.nan if known is None else known)
        # A dataset without a label keeps its place: its section then says that nothing was measured.
        dataset = self._datasets.setdefault(row.get("dataset", "all"), len(self._datasets))
        tree = self._tree(row, dataset)
        step, parent = self._place(row, tree)
        whole = {
            "ratings": row.get("num_ratings", 0),
            "dataset": dataset,
            "problem": self._problems.setdefault(self._problem(row), len(self._problems)),
            "tree": tree,
            "step": step,
            "parent": parent,
            "position": row.get("position", 1),
        }
        for name, number in whole.items():
            self._whole[name].append(number)
        self._add_texts(row, has_label=label is not None)

    def _problem(self, row: Mapping[str, Any]) -> str:
        dataset, group, problem = row.get("dataset", "all"), row.get("group"), row.get("problem")
        if group:
            return key_of("", group=group, dataset=dataset)
        if isinstance(problem, str) and problem.strip():
            return key_of(problem, group="", dataset=dataset)
        # No text's key begins so: what has no text is a problem of its dataset, or of its own.
        name = row.get("problem_id")
        return f"\0{dataset}\0{name}" if name is not None else f"\0\0{len(self._numbers['label'])}"

    def _tree(self, row: Mapping[str, Any], dataset: int) -> int:
        name = row.get("problem_id")
        key = (dataset, len(self._tree_ids) if name is None else name)
        if key not in self._trees:
            self._trees[key] = len(self._tree_ids)
            self._tree_ids.append(name or "")
        return self._trees[key]

    def _place(self, row: Mapping[str, Any], tree: int) -> tuple[int, int]:
        """Step and parent; a row that does not say them follows the row of its tree before it."""
        before = self._last_step.get(tree, FIRST_STEP)
        step, parent = row.get("step"), row.get("parent")
        if step is None:
            step, parent = before + 1, before
        elif parent is None:
            parent = before
        self._last_step[tree] = step
        # A foreign file's parents may run in a circle; ours stand before their children.
        return step, parent if FIRST_STEP <= parent < step else FIRST_STEP

    def _add_texts(self, row: Mapping[str, Any], *, has_label: bool) -> None:
        text = row.get("text")
        self._has_texts &= isinstance(text, str) or not has_label
        for name in ("problem", "text", "group"):
            self._texts[name].append(str(row.get(name) or ""))
        self._texts["context"].append(row.get("context"))

    def _number(self, row: Mapping[str, Any], name: str, line: int | None) -> float | None:
        value = row.get(name)
        if value is None:
            return None
        if isinstance(value, bool):
            return float(value)
        if not isinstance(value, int | float) or not 0.0 <= value <= 1.0:  # NaN fails the comparison too
            raise DataError(f"{name} is {shown(value)}; allowed: a number from 0 to 1", path=self._path, line=line)
        return float(value)

    def steps(self) -> ScoredSteps:
        """All rows.

        Raises:
            DataError: none has a label, or none of those that have one a confidence.
        """
        label = np.array(self._numbers["label"], np.float64)
        if np.isnan(label).all():
            raise DataError("no row has a label, so there is nothing to measure", path=self._path)
        confidence = np.array(self._numbers["confidence"], np.float64)
        if np.isnan(confidence[~np.isnan(label)]).all():
            raise DataError("no labelled step has a confidence, so there is nothing to measure", path=self._path)
        whole = {name: np.array(values, np.int64) for name, values in self._whole.items()}
        texts = self._texts
        return ScoredSteps(
            confidence=confidence,
            raw_confidence=np.array(self._numbers["raw"], np.float64),
            label=label,
            true_confidence=np.array(self._numbers["true"], np.float64),
            num_ratings=whole["ratings"],
            dataset=whole["dataset"],
            problem=whole["problem"],
            tree=whole["tree"],
            step=whole["step"],
            parent=whole["parent"],
            position=whole["position"],
            dataset_names=tuple(self._datasets),
            tree_ids=self._tree_ids,
            problem_keys=np.array([problem_hash(key) for key in self._problems], np.uint64),
            texts=ListedTexts(texts["problem"], texts["text"], texts["context"], texts["group"])
            if self._has_texts
            else None,
        )

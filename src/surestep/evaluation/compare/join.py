"""Rows of two runs that are the same step, and the difference of a figure over them.

Knows predictions files; a step is named by its dataset, problem and number.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from surestep.collector import seldom_collecting
from surestep.data.trees.problem_records import key_of_text
from surestep.errors import ConfigError, DataError
from surestep.evaluation.results.find import FoundEvaluation
from surestep.evaluation.results.predictions import are_of, check_whole, predictions_places
from surestep.evaluation.results.same_data import OVERALL
from surestep.metrics.bootstrap.draws import Draws
from surestep.metrics.paired import paired_differences
from surestep.scored import IntArray, KeyArray, ScoredSteps
from surestep.scoring.predictions.layouts import Part
from surestep.scoring.predictions.row_columns import RowColumns
from surestep.scoring.predictions.shared_reading import SomeRows, read_shared
from surestep.scoring.predictions.sure_rows import SureRows

KEY_FIELDS = ("dataset", "problem_id", "step")
_READ_FIELDS = (*KEY_FIELDS, "group", "problem", "confidence", "raw_confidence", "label", "position")

Json = dict[str, Any]
_NO_KEYS: KeyArray = np.empty((0, 2), np.uint64)


@dataclass(frozen=True)
class KeyedSteps:
    """Labelled rows of a predictions file, N of them, and what names their steps; or why they cannot be joined.

    Attributes:
        keys: uint64 (N, 2), 128 bits for the dataset, problem and number of each row's step.
    """

    predictions: ScoredSteps | None
    keys: KeyArray
    why_not: str = ""
    path: Path | None = None


def section_of(run: FoundEvaluation, dataset: str) -> Json:
    """The figures of one dataset of a run, or of all of them (`OVERALL`).

    Raises:
        ConfigError: it has no such dataset.
    """
    sections: Json = {**run.report["per_dataset"], OVERALL: run.report["overall"]}
    if dataset not in sections:
        raise ConfigError(f"{run.name} has no dataset {dataset!r}; allowed: {', '.join(sections)} (--dataset)")
    section: Json = sections[dataset]
    return section


def read_keyed(run: FoundEvaluation, dataset: str) -> KeyedSteps:
    """The labelled steps of a run's predictions, from the first of their places whose rows give its figures.

    Raises:
        DataError: the file is malformed, and no other one is the run's.
    """
    places = predictions_places(run.report, run.folder)
    if not places:
        return KeyedSteps(
            None, _NO_KEYS, f"{run.name} has no predictions.jsonl (evaluate with --save_predictions true)"
        )
    found: list[KeyedSteps] = []
    broken: list[DataError] = []
    for path in places:
        try:
            check_whole(run.report, path)
            found.append(_read_keyed(path, run, dataset))
        except DataError as error:
            broken.append(error)
        else:
            if found[-1].predictions is not None:
                return found[-1]
    if broken:
        raise broken[0]
    return found[0]


def _read_keyed(path: Path, run: FoundEvaluation, dataset: str) -> KeyedSteps:
    found, numbers = RowColumns(path), array("Q")
    with seldom_collecting(), closing(read_shared(path, partial(_keyed_rows, dataset=dataset))) as parts:
        for part in parts:
            if part.why_not:
                return KeyedSteps(None, _NO_KEYS, part.why_not)
            found.extend(part.columns)
            numbers.extend(part.numbers)
    if not numbers:
        return KeyedSteps(None, _NO_KEYS, f"{path} has no labelled row of {dataset}")
    keys = np.array(numbers, np.uint64).reshape(-1, 2)
    predictions = found.steps().measured()
    # An earlier evaluation may have left its predictions in the folder: a difference must be that of the figures shown.
    if not are_of(section_of(run, dataset), predictions):
        why = f"{path} is of another evaluation than {run.path.name} (their counts or MSE differ)"
        return KeyedSteps(None, _NO_KEYS, why)
    return KeyedSteps(predictions, keys, path=path)


@dataclass(frozen=True, slots=True)
class _KeyedRows:
    """Some rows of a file, and the two halves of the key of each that is labelled; or why a row has no key."""

    columns: RowColumns
    numbers: array[int]
    why_not: str = ""


def _keyed_rows(rows: SomeRows, *, dataset: str) -> _KeyedRows:
    """The scored rows of a dataset, or of all (`OVERALL`)."""
    found, numbers = RowColumns(rows.path), array("Q")
    sure = rows.sure()
    if sure is not None and (sure := _of_dataset(sure, dataset)) is not None:
        found.add_rows(sure)
        labelled = sure.select(~np.isnan(sure.numbers["label"]))
        names = (labelled.texts["dataset"].listed(), labelled.texts["problem_id"].listed())
        for name, problem, step in zip(*names, labelled.whole["step"].tolist(), strict=True):
            numbers.extend(_number_of((str(name), str(problem), str(step))))
        return _KeyedRows(found, numbers)
    for part, values in _rows_of(rows.parts(), dataset):
        if lacking := [name for name in KEY_FIELDS if values.get(name) is None]:
            why = f"{rows.path}, line {part.record.line}: the row has no {lacking[0]}, so it cannot be joined"
            return _KeyedRows(found, numbers, why)
        found.add(values, part.record.line)
        if values.get("label") is not None:
            numbers.extend(_number_of(_key(values)))
    return _KeyedRows(found, numbers)


def _of_dataset(rows: SureRows, dataset: str) -> SureRows | None:
    """What `_rows_of` gives of the same rows; None where one lacks a part of its key."""
    rows = rows.only(_READ_FIELDS)
    if dataset != OVERALL:
        names = rows.texts["dataset"]
        rows = rows.select(np.array([(name or "all") == dataset for name in names.values])[names.place])
    return rows if all(rows.has(name).all() for name in KEY_FIELDS) else None


def _rows_of(parts: Iterable[Part], dataset: str) -> Iterator[tuple[Part, Json]]:
    """The scored rows of a dataset, or of all (`OVERALL`), with what is read of them."""
    for part in parts:
        for row in part.rows:
            values = {name: row[name] for name in _READ_FIELDS if name in row}
            is_unscored = part.is_solution and values["confidence"] is None
            if not is_unscored and dataset in {OVERALL, values.get("dataset", "all")}:
                yield part, values


def _key(values: Json) -> tuple[str, str, str]:
    return values["dataset"], values["problem_id"], str(values["step"])


def _number_of(key: tuple[str, str, str]) -> tuple[int, int]:
    """128 bits for a key; with the length of each part, no two steps are spelled alike."""
    return key_of_text("".join(f"{len(name)} {name}" for name in key))


def matching_rows(first: KeyArray, second: KeyArray) -> tuple[IntArray, IntArray]:
    """The rows of `first` whose key is in `second`, in their order, and where each is there; keys are unique in both.

    >>> first, second = np.array([[1, 5], [1, 6], [2, 5]], np.uint64), np.array([[2, 5], [1, 5]], np.uint64)
    >>> [rows.tolist() for rows in matching_rows(first, second)]
    [[0, 2], [1, 0]]
    """
    keys = np.concatenate([first, second])
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    pairs = np.flatnonzero((keys[order[1:]] == keys[order[:-1]]).all(axis=1))
    rows, there = order[pairs], order[pairs + 1] - len(first)
    in_order = np.argsort(rows)
    return rows[in_order], there[in_order]


def difference_of(sort: str, run: KeyedSteps, best: KeyedSteps, *, resamples: int, seed: int) -> Json:
    """The run minus the best in the figure `sort` on the steps that both scored, JSON-ready."""
    if run.predictions is None or best.predictions is None:
        return {"difference": None, "low": None, "high": None, "is_real": None, "why": best.why_not or run.why_not}
    theirs, mine = matching_rows(best.keys, run.keys)
    counts: Json = {"unmatched": len(run.keys) - len(mine), "unmatched_of_best": len(best.keys) - len(mine)}
    same = run.predictions.label[mine] == best.predictions.label[theirs]
    counts["labels_differ"] = int((~same).sum())
    if not same.any():
        why = "no step is in both predictions files under the same dataset, problem_id, step and label"
        return {"difference": None, "low": None, "high": None, "is_real": None, "why": why, **counts}
    # Shared steps stand in the order of the best's rows, so a mask keeps both in step.
    rows = np.zeros(len(best.predictions), np.bool_)
    rows[theirs[same]] = True
    second = best.predictions.select(rows).densely()
    first = second.with_confidence(run.predictions.confidence[mine[same]], run.predictions.raw_confidence[mine[same]])
    draws = Draws(second.num_problems, resamples, seed)
    found = paired_differences([sort], first, second, draws=draws)[sort]
    return {
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "is_real": found.is_real,
        "why": found.why_none,
        "num_steps": found.num_steps,
        "num_problems": found.num_problems,
        "undefined_resamples": found.num_undefined,
        **counts,
    }

"""Rows of two runs that are the same step, and the difference of a figure over them.

Knows predictions files; a step is named by its dataset, problem and number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surestep.errors import ConfigError, DataError
from surestep.evaluation.results.find import FoundEvaluation
from surestep.evaluation.results.predictions import are_of, check_whole, predictions_places
from surestep.evaluation.results.same_data import OVERALL
from surestep.metrics.bootstrap.draws import Draws
from surestep.metrics.paired import paired_differences
from surestep.scored import ScoredSteps
from surestep.scoring.predictions.layouts import read_parts
from surestep.scoring.predictions_file import steps_of_rows

KEY_FIELDS = ("dataset", "problem_id", "step")
_READ_FIELDS = (*KEY_FIELDS, "group", "problem", "confidence", "raw_confidence", "label", "position")

Json = dict[str, Any]
Key = tuple[str, str, str]


@dataclass(frozen=True)
class KeyedSteps:
    """Labelled rows of a predictions file, and where each step stands; or why they cannot be joined."""

    predictions: ScoredSteps | None
    row_of: Mapping[Key, int]
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
        return KeyedSteps(None, {}, f"{run.name} has no predictions.jsonl (evaluate with --save_predictions true)")
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
    rows: list[tuple[Json, int | None]] = []
    row_of: dict[Key, int] = {}
    for part in read_parts(path):
        for row in part.rows:
            values = {name: row[name] for name in _READ_FIELDS if name in row}
            is_unscored = part.is_solution and values["confidence"] is None
            if is_unscored or dataset not in {OVERALL, values.get("dataset", "all")}:
                continue
            if lacking := [name for name in KEY_FIELDS if values.get(name) is None]:
                why = f"{path}, line {part.record.line}: the row has no {lacking[0]}, so it cannot be joined"
                return KeyedSteps(None, {}, why)
            rows.append((values, part.record.line))
            if values.get("label") is not None:
                key = (values["dataset"], values["problem_id"], str(values["step"]))
                if key in row_of:
                    raise part.record.error(f"the step {' / '.join(key)} is in the file twice; keep one row")
                row_of[key] = len(row_of)
    if not row_of:
        return KeyedSteps(None, {}, f"{path} has no labelled row of {dataset}")
    predictions = steps_of_rows(rows, path=path).measured()
    # An earlier evaluation may have left its predictions in the folder: a difference must be that of the figures shown.
    if not are_of(section_of(run, dataset), predictions):
        why = f"{path} is of another evaluation than {run.path.name} (their counts or MSE differ)"
        return KeyedSteps(None, {}, why)
    return KeyedSteps(predictions, row_of, path=path)


def difference_of(sort: str, run: KeyedSteps, best: KeyedSteps, *, resamples: int, seed: int) -> Json:
    """The run minus the best in the figure `sort` on the steps that both scored, JSON-ready."""
    if run.predictions is None or best.predictions is None:
        return {"difference": None, "low": None, "high": None, "is_real": None, "why": best.why_not or run.why_not}
    shared = [key for key in best.row_of if key in run.row_of]
    counts: Json = {"unmatched": len(run.row_of) - len(shared), "unmatched_of_best": len(best.row_of) - len(shared)}
    mine = np.array([run.row_of[key] for key in shared], dtype=np.int64)
    theirs = np.array([best.row_of[key] for key in shared], dtype=np.int64)
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

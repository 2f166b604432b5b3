"""Evaluations side by side: one table by one figure, and which differences are real.

A difference is measured on the steps that both runs scored, with a paired bootstrap over problems; see
`metrics.paired`. Runs on different splits or data are refused unless that is asked for, and then said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surestep.data.records.record import read_records
from surestep.errors import ConfigError
from surestep.evaluation.results.find import FoundEvaluation
from surestep.evaluation.results.same_data import OVERALL, differences_of_data, unknown_data
from surestep.metrics.figures import FIGURES
from surestep.metrics.paired import HIGHER_IS_BETTER, WITHOUT_DIRECTION, Scores, paired_difference
from surestep.metrics.pointwise import mse
from surestep.metrics.predictions import Predictions
from surestep.metrics.resamples import DEFAULT_LEVEL, DEFAULT_RESAMPLES
from surestep.scoring.evaluation_file import measured_predictions
from surestep.scoring.predictions_file import steps_of_rows

PULLED_TO_ZERO = frozenset({"ece", "ece_equal_mass"})
"""Figures whose plain estimates are biased toward each other (docs/experiments.md, E15)."""
KEY_FIELDS = ("dataset", "problem_id", "step")
_READ_FIELDS = (*KEY_FIELDS, "group", "problem", "confidence", "raw_confidence", "label", "position")

Json = dict[str, Any]
_Key = tuple[str, str, str]


@dataclass(frozen=True)
class _Keyed:
    """Labelled rows of a predictions file, and where each step stands; or why they cannot be joined."""

    predictions: Predictions | None
    row_of: Mapping[_Key, int]
    why_not: str = ""


def compare_runs(
    runs: Sequence[FoundEvaluation],
    *,
    sort: str,
    dataset: str = OVERALL,
    allow_different: bool = False,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> Json:
    """All runs in order of `sort`, each with its difference to the best and a verdict in words.

    Args:
        runs: at least one.
        sort: a key of `FIGURES`.
        dataset: the section that is compared.
        allow_different: compare runs of different splits or data too; `notes` then says what differs.
        resamples: of the paired bootstrap.
        seed: of its draws.

    Returns:
        `sort`, `better`, `dataset`, `best`, `level`, `resamples`, `seed`, `runs` (name, path, split, step, figures,
        difference, verdict) and `notes`.

    Raises:
        ConfigError: a run has no such dataset, or runs differ in split or data.
        DataError: a predictions file is malformed.
    """
    sections = [_section(run, dataset) for run in runs]
    notes = differences_of_data(runs, dataset)
    if notes and not allow_different:
        raise ConfigError(
            [f"not the same data: {note}" for note in notes]
            + ["compare runs of one split and one set of files, or say --allow_different to see them all the same"]
        )
    notes = [f"NOT the same data: {note}" for note in notes] + unknown_data(runs, dataset)
    sign = -1.0 if sort in HIGHER_IS_BETTER else 1.0

    def rank(index: int) -> tuple[bool, float]:
        value = sections[index].get(sort)
        return value is None, 0.0 if value is None else sign * value

    order = sorted(range(len(runs)), key=rank)
    best = runs[order[0]]
    keyed_best = _read(best, dataset) if len(runs) > 1 else None
    rows = []
    for place, index in enumerate(order):
        run, section = runs[index], sections[index]
        row: Json = {
            "name": run.name,
            "path": str(run.path),
            "predictions": None if run.predictions is None else str(run.predictions),
            "split": run.split,
            "checkpoint": run.report.get("checkpoint"),
            "step": run.step,
            "num_steps": section.get("num_steps"),
            "num_problems": section.get("num_problems"),
            "figures": {name: section.get(name) for name in FIGURES},
            "difference": None,
            "verdict": "best",
        }
        if place and keyed_best is not None:
            row["difference"] = _difference(sort, _read(run, dataset), keyed_best, resamples=resamples, seed=seed)
            row["verdict"] = _verdict(sort, row["difference"], sign)
        rows.append(row)
    if len(runs) > 1 and sort in PULLED_TO_ZERO:
        notes.append(
            f"a difference of {sort} is understated, since the plain estimate is biased upward, and more so for the "
            "better run: read whether it is real, not how large it is"
        )
    if len(runs) > 2:
        notes.append(
            "each interval is for one comparison, and the best was picked on the same data: among many runs a few "
            "differences look real by chance"
        )
    return {
        "sort": sort,
        "better": "higher" if sort in HIGHER_IS_BETTER else "lower",
        "dataset": dataset,
        "best": best.name,
        "level": DEFAULT_LEVEL,
        "resamples": resamples,
        "seed": seed,
        "runs": rows,
        "notes": notes,
    }


def _section(run: FoundEvaluation, dataset: str) -> Json:
    sections: Json = {**run.report["per_dataset"], OVERALL: run.report["overall"]}
    if dataset not in sections:
        raise ConfigError(f"{run.name} has no dataset {dataset!r}; allowed: {', '.join(sections)} (--dataset)")
    section: Json = sections[dataset]
    return section


def _read(run: FoundEvaluation, dataset: str) -> _Keyed:
    if run.predictions is None:
        return _Keyed(None, {}, f"{run.name} has no predictions.jsonl (evaluate with --save_predictions true)")
    path: Path = run.predictions
    rows: list[tuple[Json, int | None]] = []
    row_of: dict[_Key, int] = {}
    for record in read_records(path):
        values = {name: record.values[name] for name in _READ_FIELDS if name in record.values}
        if dataset not in {OVERALL, str(values.get("dataset", "all"))}:
            continue
        if lacking := [name for name in KEY_FIELDS if values.get(name) is None]:
            return _Keyed(None, {}, f"{path}, line {record.line}: the row has no {lacking[0]}, so it cannot be joined")
        rows.append((values, record.line))
        if values.get("label") is not None:
            key = (str(values["dataset"]), str(values["problem_id"]), str(values["step"]))
            if key in row_of:
                raise record.error(f"the step {' / '.join(key)} stands in the file twice; keep one row")
            row_of[key] = len(row_of)
    if not row_of:
        return _Keyed(None, {}, f"{path} has no labelled row of {dataset}")
    predictions = measured_predictions(steps_of_rows(rows, path=path))
    section = _section(run, dataset)
    said = section.get("mse")
    # An earlier evaluation may have left its predictions in the folder: a difference must be that of the figures shown.
    if section.get("num_steps") != len(predictions) or (
        said is not None and not math.isclose(mse(predictions.confidence, predictions.label), said, rel_tol=1e-6)
    ):
        return _Keyed(None, {}, f"{path} is of another evaluation than {run.path.name} (their counts or MSE differ)")
    return _Keyed(predictions, row_of)


def _difference(sort: str, run: _Keyed, best: _Keyed, *, resamples: int, seed: int) -> Json:
    """The run minus the best on the steps that both scored, JSON-ready."""
    if run.predictions is None or best.predictions is None:
        return {"difference": None, "low": None, "high": None, "is_real": None, "why": best.why_not or run.why_not}
    shared = [key for key in best.row_of if key in run.row_of]
    counts: Json = {"unmatched": len(run.row_of) - len(shared), "unmatched_of_best": len(best.row_of) - len(shared)}
    mine = np.array([run.row_of[key] for key in shared], dtype=np.int64)
    theirs = np.array([best.row_of[key] for key in shared], dtype=np.int64)
    same = run.predictions.label[mine] == best.predictions.label[theirs]
    counts["labels_differ"] = int((~same).sum())
    mine, theirs = mine[same], theirs[same]
    if not mine.size:
        why = "no step stands in both predictions.jsonl under the same dataset, problem_id, step and label"
        return {"difference": None, "low": None, "high": None, "is_real": None, "why": why, **counts}
    found = paired_difference(
        sort,
        Scores(run.predictions.confidence[mine], run.predictions.raw_confidence[mine]),
        Scores(best.predictions.confidence[theirs], best.predictions.raw_confidence[theirs]),
        best.predictions.label[theirs],
        best.predictions.problem[theirs],
        resamples=resamples,
        seed=seed,
    )
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


def _verdict(sort: str, difference: Json, sign: float) -> str:
    counted = [
        f"{difference[name]:,} {words}"
        for name, words in (
            ("unmatched", "steps of this run are not among the best's"),
            ("unmatched_of_best", "of the best's are not among this run's"),
            ("labels_differ", "matched steps have other labels and were left out"),
        )
        if difference.get(name)
    ]
    said = "".join(f"; {part}" for part in counted)
    if difference["is_real"] is None:
        return f"no difference is given: {difference['why']}{said}"
    value, low, high = difference["difference"], difference["low"], difference["high"]
    figures = f"{sort} {value:+.4f} [{low:+.4f}, {high:+.4f}]"
    if not difference["is_real"]:
        return f"not told apart from the best: {figures} covers 0{said}"
    return f"{'worse' if sign * value > 0 else 'better'} than the best on the same steps: {figures}{said}"


def check_sort(name: str) -> str:
    """`name` where it is a figure whose direction is known.

    Raises:
        ConfigError: it is not.
    """
    allowed = [figure for figure in FIGURES if figure not in WITHOUT_DIRECTION]
    if name not in allowed:
        why = "has no better and worse" if name in FIGURES else "is no figure"
        raise ConfigError(f"--sort: {name!r} {why}; allowed: {', '.join(allowed)}")
    return name

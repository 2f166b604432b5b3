"""The page and the model card of an evaluation: written where its figures lie.

From rows in memory, right after scoring, or later from the files of a folder. Knows what goes where; knows neither how
a page looks nor what a card says.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surestep.errors import DataError
from surestep.evaluation.report.model_card import write_card
from surestep.evaluation.report.page import Sources, WrittenPage, write_page
from surestep.evaluation.results.run_files import find_run
from surestep.files import METRICS, storage_errors, written_together
from surestep.metrics.figures.pointwise import mse
from surestep.scored import ScoredSteps
from surestep.scoring.evaluation_file import check_predictions_belong
from surestep.scoring.predictions_file import find_predictions, read_predictions, rows_of


@dataclass(frozen=True)
class WrittenReport:
    """What was written; `card` is None where the figures name no checkpoint."""

    page: WrittenPage
    card: Path | None


def write_report(
    report: Mapping[str, Any],
    folder: Path,
    *,
    predictions: ScoredSteps | None,
    rows: Sequence[Mapping[str, Any]] | None,
    checkpoint: Path | None = None,
) -> WrittenReport:
    """Write `report.html`, `plots/` and, for a checkpoint's figures, `MODEL_CARD.md` into `folder`.

    Args:
        report: the content of `eval_metrics.json`.
        folder: where everything goes.
        predictions: the labelled steps; without them the page has fewer charts and says so.
        rows: every step as in `predictions.jsonl`.
        checkpoint: where the checkpoint lies now; unset: where the report says, or its usual place.

    Raises:
        CheckpointError: `checkpoint` is not the one that was evaluated.
        StorageError: the folder cannot be written.
    """
    run = find_run(report, folder, checkpoint=checkpoint)
    with storage_errors(folder, "free space or change its permissions"), written_together():
        page = write_page(Sources(report, run, predictions, rows), folder)
        card = write_card(report, run, folder) if report.get("checkpoint") else None
    return WrittenReport(page, card)


def report_on_folder(folder: Path, *, checkpoint: Path | None = None) -> WrittenReport:
    """Write the report of an evaluation folder from its files.

    Raises:
        DataError: there is no `eval_metrics.json`, it is damaged, or the predictions beside it do not belong to it.
        CheckpointError: `checkpoint` is not the one that was evaluated.
        StorageError: the folder cannot be written.
    """
    report = read_metrics(folder)
    path = find_predictions(folder)
    if path is None:
        return write_report(report, folder, predictions=None, rows=None, checkpoint=checkpoint)
    check_predictions_belong(report, path)
    steps = read_predictions(path)
    predictions = steps.measured()
    _check_belongs(report, predictions, path)
    return write_report(report, folder, predictions=predictions, rows=list(rows_of(steps)), checkpoint=checkpoint)


def _check_belongs(report: Mapping[str, Any], predictions: ScoredSteps, path: Path) -> None:
    """Refuse predictions that an earlier evaluation left in the folder: charts and figures would contradict."""
    found, said = mse(predictions.confidence, predictions.label), report["overall"].get("mse")
    num_steps = report["overall"]["num_steps"]
    if len(predictions) != num_steps or said is None or not math.isclose(found, said, rel_tol=1e-6, abs_tol=1e-12):
        raise DataError(
            f"{len(predictions):,} labelled rows with an MSE of {found:.6f}, but {METRICS} beside it says "
            f"{num_steps:,} and {said}; remove it or restore the one that belongs to it, or measure it with "
            "surestep evaluate --predictions",
            path=path,
        )


def read_metrics(folder: Path) -> dict[str, Any]:
    """The content of a folder's `eval_metrics.json`.

    Raises:
        DataError: it is missing, no JSON, or not the figures of an evaluation.
    """
    path = folder / METRICS
    if not path.is_file():
        raise DataError(f"{folder} holds no {METRICS}; name a folder that surestep evaluate wrote")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"it cannot be read ({error}); evaluate again", path=path) from None
    sections = []
    if isinstance(values, dict) and isinstance(values.get("per_dataset"), dict):
        sections = [values.get("overall"), *values["per_dataset"].values()]
    needed = {"num_steps", "num_problems", "reliability", "constant_baseline", "skill"}
    if not sections or any(not isinstance(section, dict) or needed - section.keys() for section in sections):
        raise DataError("it holds no figures of an evaluation; evaluate again", path=path)
    found: dict[str, Any] = values
    return found

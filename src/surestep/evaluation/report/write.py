"""The page and the model card of an evaluation: written where its figures lie.

From rows in memory, right after scoring, or later from the files of a folder. Knows what goes where; knows neither how
a page looks nor what a card says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surestep.errors import DataError
from surestep.evaluation.report.made_from import fingerprint_of, read_card, read_page
from surestep.evaluation.report.model_card import WrittenCard, write_card
from surestep.evaluation.report.page import Sources, WrittenPage, write_page
from surestep.evaluation.results.figures_schema import check_figures
from surestep.evaluation.results.predictions import are_of, predictions_beside, read_predictions_of
from surestep.evaluation.results.run_files import find_run
from surestep.files import CARD, METRICS, PAGE_ADVICE, PLOTS, REPORT, storage_errors, written_together
from surestep.scored import ScoredSteps
from surestep.scoring.predictions_file import RowsInView, read_predictions
from surestep.untrusted import read_json


@dataclass(frozen=True)
class WrittenReport:
    """What was written or kept; `card` is None where the figures name no checkpoint."""

    page: WrittenPage
    card: WrittenCard | None


def write_report(
    report: Mapping[str, Any],
    folder: Path,
    *,
    predictions: ScoredSteps | None,
    rows: Sequence[Mapping[str, Any]] | None,
    checkpoint: Path | None = None,
    allow_poorer: bool = False,
) -> WrittenReport:
    """Write `report.html`, `plots/` and, for a checkpoint's figures, `MODEL_CARD.md` into `folder`.

    What is there is never made poorer: a page or card that holds what the new one would lack is kept, and said to be.

    Args:
        report: the content of `eval_metrics.json`.
        folder: where everything goes.
        predictions: the labelled steps; without them the page has fewer charts and says so.
        rows: every step as in `predictions.jsonl`.
        checkpoint: where the checkpoint lies now; unset: where the report says, or its usual place.
        allow_poorer: replace what is there all the same.

    Raises:
        CheckpointError: `checkpoint` is not the one that was evaluated.
        StorageError: the folder cannot be written.
    """
    run = find_run(report, folder, checkpoint=checkpoint)
    with storage_errors(folder, PAGE_ADVICE), written_together():
        page = write_page(Sources(report, run, predictions, rows), folder, allow_poorer=allow_poorer)
        card = write_card(report, run, folder, allow_poorer=allow_poorer) if report.get("checkpoint") else None
    return WrittenReport(page, card)


def report_on_folder(folder: Path, *, checkpoint: Path | None = None, allow_poorer: bool = False) -> WrittenReport:
    """Write the report of an evaluation folder from its files (`checkpoint`, `allow_poorer` as in `write_report`).

    Raises:
        DataError: there is no `eval_metrics.json`, it is damaged, or no predictions that are there belong to it.
        CheckpointError: `checkpoint` is not the one that was evaluated.
        StorageError: the folder cannot be written.
    """
    report = read_metrics(folder)
    steps = read_predictions_of(report, folder)
    return write_report(
        report,
        folder,
        predictions=None if steps is None else steps.measured(),
        rows=None if steps is None else RowsInView(steps),
        checkpoint=checkpoint,
        allow_poorer=allow_poorer,
    )


def left_of_other_evaluations(report: Mapping[str, Any], folder: Path, *, own: Path | None) -> tuple[str, ...]:
    """A sentence for each file in `folder` that shows or holds other figures than `report`.

    They stay, since they may be the last of what they show; whoever reads them must know what they are not.

    Args:
        report: the content of `eval_metrics.json`.
        folder: where that lies.
        own: the predictions of `report`, which need no second look; None where they were not kept.
    """
    found = []
    for path in predictions_beside(folder):
        if own is not None and path.samefile(own):
            continue
        try:
            is_ours = are_of(report["overall"], read_predictions(path).measured())
        except DataError:
            is_ours = False
        if not is_ours:
            found.append(f"{path.name} there is not of these figures: nothing is read from it; remove it or move it")
    for name, made in (
        (REPORT, read_page(folder / REPORT, folder / PLOTS, report)),
        (CARD, read_card(folder / CARD)),
    ):
        if made is not None and made.evaluation != fingerprint_of(report):
            found.append(f"{name} there does not show these figures: move it away, then run surestep report {folder}")
    return tuple(found)


def read_metrics(folder: Path) -> dict[str, Any]:
    """The content of a folder's `eval_metrics.json`.

    Raises:
        DataError: it is missing, no JSON, or not the figures of an evaluation.
    """
    path = folder / METRICS
    if not path.is_file():
        raise DataError(f"{folder} holds no {METRICS}; name a folder that surestep evaluate wrote")
    try:
        values = read_json(path, allow_nan=True)
    except (OSError, ValueError) as error:
        raise DataError(f"it cannot be read ({error}); evaluate again", path=path) from None
    sections = []
    if isinstance(values, dict) and isinstance(values.get("per_dataset"), dict):
        sections = [values.get("overall"), *values["per_dataset"].values()]
    needed = {"num_steps", "num_problems", "reliability", "constant_baseline", "skill"}
    if not sections or any(not isinstance(section, dict) or needed - section.keys() for section in sections):
        raise DataError("it holds no figures of an evaluation; evaluate again", path=path)
    try:
        check_figures(values)
    except ValueError as error:
        raise DataError(f"it holds no figures of an evaluation ({error}); evaluate again", path=path) from None
    found: dict[str, Any] = values
    return found

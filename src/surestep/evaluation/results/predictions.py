"""The predictions that an evaluation's figures were measured on: where they may lie, and whether a file is it.

An earlier evaluation may have left its own file in the folder, so a file counts only where it gives the figures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surestep.counted import counted
from surestep.disk import real_path
from surestep.errors import DataError
from surestep.files import METRICS, PREDICTIONS, sha256_of
from surestep.metrics.figures.pointwise import mse
from surestep.scored import ScoredSteps
from surestep.scoring.evaluation_file import PREDICTIONS_HASH
from surestep.scoring.predictions_file import read_predictions
from surestep.untrusted.bounds import UNPACKED


def predictions_beside(folder: Path) -> tuple[Path, ...]:
    """The predictions in a folder of results: compressed, then plain as others write them."""
    places = (folder / PREDICTIONS, folder / PREDICTIONS.removesuffix(".gz"))
    return tuple(path for path in places if path.is_file())


def predictions_places(report: Mapping[str, Any], folder: Path) -> tuple[Path, ...]:
    """The files that may hold the predictions of `report`, the likeliest first.

    Args:
        report: the content of `eval_metrics.json`.
        folder: where that lies: the file that it names is looked for there and above it too.
    """
    places = list(predictions_beside(folder))
    named = report.get("predictions")
    if isinstance(named, str) and named:
        name = Path(named).name
        places += [path for path in (Path(named), folder / name, folder.parent / name) if path.is_file()]
    found: dict[Path, Path] = {}
    for path in places:
        found.setdefault(real_path(path), path)
    return tuple(found.values())


def check_whole(report: Mapping[str, Any], path: Path) -> None:
    """Refuse a file that has the name of the one which `report` was written with, and other content.

    A copy under another name (unpacked, say) is known by its figures alone (`are_of`), and so is every file where the
    report says no hash.

    Raises:
        DataError: its hash differs, it cannot be read, or it is larger than what a data file may hold.
    """
    said = report.get(PREDICTIONS_HASH)
    if not isinstance(said, str) or path.name != PREDICTIONS:
        return
    try:
        if path.stat().st_size > UNPACKED():  # no reader would take it, and its hash would take minutes
            raise DataError(UNPACKED.exceeded("it holds"), path=path)
        found = sha256_of(path)
    except OSError as error:
        raise DataError(f"it cannot be read ({error.strerror}); evaluate again", path=path) from None
    if found != said:
        raise DataError(
            f"it is not the file that {METRICS} beside it was written with (its sha256 differs); evaluate again, "
            "restore it, or move it away",
            path=path,
        )


def are_of(section: Mapping[str, Any], predictions: ScoredSteps) -> bool:
    """Whether measured steps are those of a section of `eval_metrics.json`: as many, with the same MSE.

    >>> are_of({"num_steps": 1, "mse": 0.25}, ScoredSteps.of_columns([0.5], [1.0]))
    True
    """
    said = section.get("mse")
    if section.get("num_steps") != len(predictions):
        return False
    if not len(predictions) or said is None:
        return said is None and not len(predictions)
    return math.isclose(mse(predictions.confidence, predictions.label), said, rel_tol=1e-6, abs_tol=1e-12)


def read_predictions_of(report: Mapping[str, Any], folder: Path) -> ScoredSteps | None:
    """Every step that `report` was measured on; None where no file is there.

    Raises:
        DataError: there are files, but none can be read and belongs to `report`; says why of the likeliest.
    """
    reasons: list[DataError] = []
    for path in predictions_places(report, folder):
        try:
            check_whole(report, path)
            steps = read_predictions(path)
        except DataError as error:
            reasons.append(error)
            continue
        measured = steps.measured()
        if are_of(report["overall"], measured):
            return steps
        reasons.append(_of_another(report, measured, path))
    if reasons:
        raise reasons[0]
    return None


def _of_another(report: Mapping[str, Any], measured: ScoredSteps, path: Path) -> DataError:
    found, overall = mse(measured.confidence, measured.label), report["overall"]
    return DataError(
        f"{counted(len(measured), 'labelled row')} with an MSE of {found:.6f}, but {METRICS} beside it says "
        f"{overall['num_steps']:,} and {overall.get('mse')}; remove it or restore the one that belongs to it, or "
        "measure it with surestep evaluate --predictions",
        path=path,
    )

"""What a calibration changed on the steps that were evaluated: figures without the map beside those with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from surestep.calibration.calibration import Calibration
from surestep.calibration.maps import map_to_json
from surestep.data.sources.source import Source
from surestep.metrics.columns import FloatArray
from surestep.metrics.figures import compute_figures
from surestep.scored import ScoredSteps

CalibrationUse = Literal["pooled", "dataset", "none"]
"""`pooled`: one map for all; `dataset`: each dataset's own where it has one; `none`: the model's own confidence."""

FIGURES = ("nll", "ece", "ece_equal_mass", "mse", "brier")
"""Figures that a map can change; a rising map leaves rankings as they are."""


def content_of(source: Source) -> str:
    """What the trees of a source are made from, whatever split and name they go by."""
    return replace(source, name="", split="validation").fingerprint()


def calibration_report(
    stored: Calibration | None,
    use: CalibrationUse,
    predictions: ScoredSteps,
    contents: Mapping[str, str],
    *,
    miscalibrated_by: Sequence[str] = (),
) -> dict[str, Any]:
    """The section `calibration` of `eval_metrics.json`.

    Args:
        stored: the checkpoint's calibration.
        use: what was asked for.
        predictions: as scored, with the raw confidence in `raw_confidence`.
        contents: `content_of` each evaluated dataset.
        miscalibrated_by: parts of the training loss whose minimum is not where the confidence is the mean label
            (`LossOptions.miscalibrating`), which the report then names as well.

    Returns:
        `applied` (`none` also where nothing is stored), `stored`, and with a stored one its `maps`; where one was
        applied `used` (map by dataset), `before` and `after`: `FIGURES`, overall and per dataset, and
        `fitted_on_these`: the datasets whose very steps the map was fitted on, so that `after` is too good there.
    """
    applied: CalibrationUse = "none" if stored is None else use
    report: dict[str, Any] = {"applied": applied, "stored": stored is not None}
    if miscalibrated_by:
        report["miscalibrated_by"] = list(miscalibrated_by)
    if stored is None:
        return report
    maps = {name: map_to_json(made) for name, made in stored.datasets.items()}
    report["maps"] = {"pooled": map_to_json(stored.pooled), "datasets": maps}
    if applied == "none":
        return report
    own = stored.datasets if applied == "dataset" else {}
    report["used"] = {name: "own" if name in own else "pooled" for name in predictions.dataset_names}
    fitted_on = {found.get("content") for found in stored.about.get("datasets", {}).values()}
    report["fitted_on_these"] = [name for name, content in contents.items() if content in fitted_on]
    report["before"] = figures_by_dataset(predictions, predictions.raw_confidence)
    report["after"] = figures_by_dataset(predictions, predictions.confidence)
    return report


def figures_by_dataset(predictions: ScoredSteps, confidence: FloatArray) -> dict[str, Any]:
    """`FIGURES` of `confidence` [N] against the labels of `predictions`, overall and per dataset."""

    def figures(rows: Any) -> dict[str, float | None]:
        return compute_figures(confidence[rows], predictions.label[rows], names=FIGURES).values

    return {
        "overall": figures(np.ones(len(predictions), np.bool_)),
        "per_dataset": {
            name: figures(predictions.dataset == index) for index, name in enumerate(predictions.dataset_names)
        },
    }

"""The table of figures: whatever a report, a table, a comparison or a target knows of a figure is looked up here.

A new figure is one `Figure` in the file of its kind and one entry here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy.typing as npt

from surestep.metrics.columns import UndefinedFigureError
from surestep.metrics.figures.binned import ece, ece_equal_mass, rms_calibration_error
from surestep.metrics.figures.brier_parts import (
    brier_reliability,
    brier_resolution,
    brier_uncertainty,
    brier_within_bin,
)
from surestep.metrics.figures.figure import Figure, PlainSteps
from surestep.metrics.figures.pointwise import accuracy, brier, calibration_in_the_large, mae, mse, nll, r2
from surestep.metrics.figures.ranking import (
    auroc,
    auroc_without_half,
    average_precision,
    average_precision_error,
    average_precision_error_without_half,
    average_precision_without_half,
    spearman,
)
from surestep.metrics.figures.risk_coverage import risk_coverage_area, risk_coverage_excess
from surestep.metrics.figures.smooth import smooth_ece

FIGURES: dict[str, Figure] = {
    figure.name: figure
    for figure in (
        mse,
        mae,
        r2,
        ece,
        ece_equal_mass,
        nll,
        brier,
        auroc,
        auroc_without_half,
        average_precision,
        average_precision_without_half,
        average_precision_error,
        average_precision_error_without_half,
        accuracy,
        calibration_in_the_large,
        smooth_ece,
        rms_calibration_error,
        brier_reliability,
        brier_resolution,
        brier_uncertainty,
        brier_within_bin,
        spearman,
        risk_coverage_area,
        risk_coverage_excess,
    )
}
"""Every figure of a report by name, in the order in which it is shown. Looked up when used, never copied."""


def with_direction() -> list[str]:
    """Names of the figures of which more, or less, is better: what runs can be sorted and chosen by."""
    return [name for name, figure in FIGURES.items() if figure.direction != "none"]


def in_tables() -> list[str]:
    """Names of the figures that printed tables have a column for."""
    return [name for name, figure in FIGURES.items() if figure.in_tables]


@dataclass(frozen=True, slots=True)
class FigureSet:
    """Figures by name; None where undefined, and then `undefined` says why under the same name."""

    values: dict[str, float | None] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """The figures and, under "undefined", the reasons for those that are null."""
        return {**self.values, "undefined": dict(self.undefined)}


def compute_figures(
    confidence: npt.ArrayLike,
    label: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    raw_confidence: npt.ArrayLike | None = None,
    problem: npt.ArrayLike | None = None,
    names: Iterable[str] | None = None,
) -> FigureSet:
    """The named figures of these steps, plain values only; `Measure` gives intervals too.

    Args:
        confidence: shape (N,), in [0, 1].
        label: shape (N,), in [0, 1].
        weights: shape (N,), how often each step counts; once where left out.
        raw_confidence: shape (N,), in [0, 1], what rankings read; `confidence` where left out.
        problem: shape (N,), which problem a step belongs to: the noise that `rms_calibration_error` takes off is
            then that of problems, not of steps. Not together with `weights`.
        names: keys of `FIGURES`; all where left out.

    Raises:
        DataError: a confidence or label is outside [0, 1] or NaN.

    >>> compute_figures([0.5, 1.0], [1.0, 1.0], names=["mse", "auroc"])  # doctest: +NORMALIZE_WHITESPACE
    FigureSet(values={'mse': 0.125, 'auroc': None},
              undefined={'auroc': 'only one class: all 2 steps count as right (label >= 0.5)'})
    """
    result = FigureSet()
    reads = {"confidence": confidence, "raw_confidence": confidence if raw_confidence is None else raw_confidence}
    steps: dict[str, PlainSteps] = {}
    for name in FIGURES if names is None else names:
        figure = FIGURES[name]
        try:
            if figure.reads not in steps:
                steps[figure.reads] = PlainSteps(reads[figure.reads], label, weights, problem=problem)
            result.values[name] = figure.of(steps[figure.reads])
        except UndefinedFigureError as error:
            result.values[name] = None
            result.undefined[name] = error.reason
    return result

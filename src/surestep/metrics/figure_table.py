"""The list of figures that every report gives, computed by name.

Each is a function (confidence, label, weights) -> float, so that an interval is the same function under
other weights. Knows the names that `eval_metrics.json` uses; knows no dataset and no layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy.typing as npt

from surestep.metrics import (
    calibration_error,
    debiased_error,
    decomposition,
    pointwise,
    rank_correlation,
    ranking,
    risk_coverage,
    smooth_error,
)
from surestep.metrics.columns import UndefinedFigureError


class Figure(Protocol):
    """A metric over N steps; raises `UndefinedFigureError` where it has no value."""

    def __call__(
        self, confidence: npt.ArrayLike, label: npt.ArrayLike, weights: npt.ArrayLike | None = None, /
    ) -> float: ...


FIGURES: Mapping[str, Figure] = {
    "mse": pointwise.mse,
    "mae": pointwise.mae,
    "r2": pointwise.r2,
    "ece": calibration_error.ece,
    "ece_equal_mass": calibration_error.ece_equal_mass,
    "nll": pointwise.nll,
    "brier": pointwise.brier,
    "auroc": ranking.auroc,
    "auroc_without_half": ranking.auroc_without_half,
    "average_precision": ranking.average_precision,
    "average_precision_without_half": ranking.average_precision_without_half,
    "average_precision_error": ranking.average_precision_error,
    "average_precision_error_without_half": ranking.average_precision_error_without_half,
    "accuracy": pointwise.accuracy,
    "calibration_in_the_large": pointwise.calibration_in_the_large,
    "smooth_ece": smooth_error.smooth_ece,
    "rms_calibration_error": debiased_error.rms_calibration_error,
    "brier_reliability": decomposition.brier_reliability,
    "brier_resolution": decomposition.brier_resolution,
    "brier_uncertainty": decomposition.brier_uncertainty,
    "brier_within_bin": decomposition.brier_within_bin,
    "spearman": rank_correlation.spearman,
    "risk_coverage_area": risk_coverage.risk_coverage_area,
    "risk_coverage_excess": risk_coverage.risk_coverage_excess,
}
"""Every figure of a report, in the order in which it is shown."""

RANKING_FIGURES = frozenset(
    {
        "auroc",
        "auroc_without_half",
        "average_precision",
        "average_precision_without_half",
        "average_precision_error",
        "average_precision_error_without_half",
        "spearman",
        "risk_coverage_area",
        "risk_coverage_excess",
    }
)
"""Figures that ask only for the order of the steps, and so read the raw confidence."""


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
    names: Iterable[str] = tuple(FIGURES),
) -> FigureSet:
    """The named figures of these steps.

    Args:
        confidence: shape (N,), in [0, 1].
        label: shape (N,), in [0, 1].
        weights: shape (N,), how often each step counts; once where left out.
        raw_confidence: shape (N,), in [0, 1], what `RANKING_FIGURES` read; `confidence` where left out.
        problem: shape (N,), which problem a step belongs to: the noise that `rms_calibration_error` takes off is
            then that of problems, not of steps. Not together with `weights`.
        names: keys of `FIGURES`.

    Raises:
        DataError: a confidence or label is outside [0, 1] or NaN.

    >>> compute_figures([0.5, 1.0], [1.0, 1.0], names=["mse", "auroc"])  # doctest: +NORMALIZE_WHITESPACE
    FigureSet(values={'mse': 0.125, 'auroc': None},
              undefined={'auroc': 'only one class: all 2 steps count as right (label >= 0.5)'})
    """
    if problem is not None and weights is not None:
        raise ValueError("either weights or problems")
    raw = confidence if raw_confidence is None else raw_confidence
    result = FigureSet()
    for name in names:
        try:
            if name == "rms_calibration_error" and problem is not None:
                result.values[name] = debiased_error.rms_calibration_error_by_problem(confidence, label, problem)
                continue
            result.values[name] = FIGURES[name](raw if name in RANKING_FIGURES else confidence, label, weights)
        except UndefinedFigureError as error:
            result.values[name] = None
            result.undefined[name] = error.reason
    return result

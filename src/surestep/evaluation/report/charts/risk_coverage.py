"""The charts of risk and coverage: what trusting the surest steps buys.

Figures to `Chart`s, binned in numpy. Knows no HTML and no file.
"""

from __future__ import annotations

import numpy as np

from surestep.evaluation.report.charts.chart import (
    SERIES_ROLES,
    Chart,
    Line,
    Panel,
    Points,
    axis,
    unit_axis,
)
from surestep.metrics.columns import FloatArray, bin_sums
from surestep.metrics.report.wording import number
from surestep.scored import ScoredSteps

CURVE_POINTS = 120

_COVERAGE = unit_axis("share of steps kept (coverage)")
_RISK = "risk: 1 − mean label"


def risk_coverage(predictions: ScoredSteps) -> Chart:
    """Share of wrongness among the steps it is surest of, for every share of steps kept.

    Risk is 1 - mean label. Steps of equal confidence count by their mean, so the order of rows does not matter.
    """
    marks: list[Line | Points] = []
    coverage, risk = risk_coverage_curve(predictions.raw_confidence, predictions.label)
    _, best = risk_coverage_curve(predictions.label, predictions.label)
    base = float(1.0 - predictions.label.mean())
    marks.append(Line((0.0, 1.0), (base, base), "reference", "any order", dashed=True))
    marks.append(Line(coverage.tolist(), best.tolist(), "reference", "best possible order"))
    marks.append(Line(coverage.tolist(), risk.tolist(), "model", "this model"))
    kept = _tenths(coverage)
    tips = [f"coverage {coverage[k]:.1f}: risk {number(risk[k])}\nbest possible order {number(best[k])}" for k in kept]
    marks.append(Points(coverage[kept].tolist(), risk[kept].tolist(), "model", tips))
    return Chart(
        name="risk_coverage",
        title="Risk–coverage curve",
        note="Risk (1 - mean label) of the most confident share of the steps (coverage). Lower is better.",
        x=_COVERAGE,
        panels=(Panel(axis(_RISK, [base, *risk.tolist()]), tuple(marks)),),
        header=("coverage", "risk", "best possible"),
        rows=tuple((f"{coverage[k]:.1f}", number(risk[k]), number(best[k])) for k in kept),
    )


def risk_coverage_by_dataset(predictions: ScoredSteps) -> Chart | None:
    """The same for each dataset on its own; None for one dataset only, or for more than there are colours."""
    names = [name for k, name in enumerate(predictions.dataset_names) if (predictions.dataset == k).any()]
    if not 1 < len(names) <= len(SERIES_ROLES):
        return None
    parts = {name: predictions.for_dataset(name) for name in names}
    curves = {name: risk_coverage_curve(part.raw_confidence, part.label) for name, part in parts.items()}
    coverage = next(iter(curves.values()))[0]
    return Chart(
        name="risk_coverage_by_dataset",
        title="Risk–coverage curve by dataset",
        note="At full coverage each line is at its dataset's own 1 - mean label: compare shapes, not heights.",
        x=_COVERAGE,
        panels=(
            Panel(
                axis(_RISK, [value for _, risk in curves.values() for value in risk]),
                tuple(
                    Line(coverage.tolist(), risk.tolist(), role, name)
                    for role, (name, (_, risk)) in zip(SERIES_ROLES, curves.items(), strict=False)
                ),
            ),
        ),
        header=("coverage", *curves),
        rows=tuple(
            (f"{coverage[k]:.1f}", *(number(risk[k]) for _, risk in curves.values())) for k in _tenths(coverage)
        ),
    )


def _tenths(coverage: FloatArray) -> list[int]:
    found: list[int] = np.searchsorted(coverage, np.arange(1, 11) / 10).clip(max=len(coverage) - 1).tolist()
    return found


def risk_coverage_curve(confidence: FloatArray, label: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Coverage and risk, each of shape (CURVE_POINTS,), for N > 0 steps.

    >>> coverage, risk = risk_coverage_curve(np.array([0.9, 0.1]), np.array([1.0, 0.0]))
    >>> float(risk[0]), float(coverage[-1]), float(risk[-1])
    (0.0, 1.0, 0.5)
    """
    _, group = np.unique(-confidence, return_inverse=True)
    expected = (bin_sums(group, label) / bin_sums(group))[group]
    kept = np.cumsum(expected[np.argsort(group, kind="stable")]) / np.arange(1, label.size + 1)
    coverage = np.linspace(1 / CURVE_POINTS, 1.0, CURVE_POINTS)
    at = np.ceil(coverage * label.size - 1e-9).astype(np.int64) - 1
    return coverage, 1.0 - kept[at.clip(0)]

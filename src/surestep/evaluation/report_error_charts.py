"""The charts of errors: what trusting the surest steps buys, and where in a solution it errs.

Figures to `Chart`s, binned in numpy. Knows no HTML and no file.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from surestep.evaluation.report_chart import (
    SERIES_ROLES,
    Axis,
    Bars,
    Chart,
    Line,
    Panel,
    Points,
    Role,
    axis,
    count_axis,
    unit_axis,
)
from surestep.evaluation.report_charts import known_or, three_digits
from surestep.evaluation.report_groups import group_means
from surestep.metrics.columns import FloatArray, IntArray
from surestep.metrics.predictions import Predictions

LAST_POSITION = 20
"""Steps from this position on are one group."""

CURVE_POINTS = 120

_COVERAGE = unit_axis("share of steps kept (coverage)")
_RISK = "risk: 1 − mean label"


def risk_coverage(predictions: Predictions) -> Chart:
    """Share of wrongness among the steps it is surest of, for every share of steps kept.

    Risk is 1 - mean label. Steps of equal confidence count by their mean, so the order of rows does not matter.
    """
    marks: list[Line] = []
    coverage, risk = risk_coverage_curve(predictions.raw_confidence, predictions.label)
    _, best = risk_coverage_curve(predictions.label, predictions.label)
    base = float(1.0 - predictions.label.mean())
    marks.append(Line((0.0, 1.0), (base, base), "reference", "any order", dashed=True))
    marks.append(Line(coverage.tolist(), best.tolist(), "reference", "best possible order"))
    marks.append(Line(coverage.tolist(), risk.tolist(), "model", "this model"))
    kept = _tenths(coverage)
    return Chart(
        name="risk_coverage",
        title="What trusting only the surest steps buys",
        note="Keep the most confident share of steps: how wrong is what is kept? Lower is better.",
        x=_COVERAGE,
        panels=(Panel(axis(_RISK, [base, *risk.tolist()]), tuple(marks)),),
        header=("kept", "risk", "best possible"),
        rows=tuple((f"{coverage[k]:.0%}", f"{risk[k]:.3f}", f"{best[k]:.3f}") for k in kept),
    )


def risk_coverage_by_dataset(predictions: Predictions) -> Chart | None:
    """The same for each dataset on its own; None for one dataset only, or for more than there are colours."""
    names = [name for k, name in enumerate(predictions.dataset_names) if (predictions.dataset == k).any()]
    if not 1 < len(names) <= len(SERIES_ROLES):
        return None
    parts = {name: predictions.for_dataset(name) for name in names}
    curves = {name: risk_coverage_curve(part.raw_confidence, part.label) for name, part in parts.items()}
    coverage = next(iter(curves.values()))[0]
    return Chart(
        name="risk_coverage_by_dataset",
        title="The same for each dataset",
        note="Where a line ends on the right is the dataset's own share of wrongness: compare shapes, not heights.",
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
        header=("kept", *curves),
        rows=tuple(
            (f"{coverage[k]:.0%}", *(f"{risk[k]:.3f}" for _, risk in curves.values())) for k in _tenths(coverage)
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
    expected = (np.bincount(group, label) / np.bincount(group))[group]
    kept = np.cumsum(expected[np.argsort(group, kind="stable")]) / np.arange(1, label.size + 1)
    coverage = np.linspace(1 / CURVE_POINTS, 1.0, CURVE_POINTS)
    at = np.ceil(coverage * label.size - 1e-9).astype(np.int64) - 1
    return coverage, 1.0 - kept[at.clip(0)]


def error_by_position(predictions: Predictions) -> Chart:
    """Mean squared error at each position in the solution, and how many steps stand there."""
    last, group, names = _positions(predictions)
    error = (predictions.confidence - predictions.label) ** 2
    found = group_means(error, group, predictions.problem, num_groups=last)
    kept = np.flatnonzero(found.count_K)
    x = (kept + 1).astype(float).tolist()
    y = found.mean_K[kept].tolist()
    low, high = known_or(found.low_K[kept], found.mean_K[kept]), known_or(found.high_K[kept], found.mean_K[kept])
    counts = found.count_K[kept]
    tips = [f"step {names[k]}: MSE {found.mean_K[k]:.4f}, {found.count_K[k]:,} steps" for k in kept]
    bars = Bars(
        left=[value - 0.4 for value in x],
        right=[value + 0.4 for value in x],
        base=[0.0] * len(x),
        top=counts.astype(float).tolist(),
        role="model",
        tips=tips,
    )
    return Chart(
        name="error_by_position",
        title="Error by step position",
        note="Mean squared error of the confidence at each step of a solution. Whiskers: 95 % over problems.",
        x=_position_axis(last, names),
        panels=(
            Panel(
                axis("mean squared error", high),
                (Line(x, y, "model"), Points(x, y, "model", tips, low=low, high=high)),
                0.78,
            ),
            Panel(count_axis("steps", bars.top), (bars,), 0.22),
        ),
        header=("position", "steps", "MSE", "low", "high"),
        rows=tuple(
            (
                names[k],
                f"{found.count_K[k]:,}",
                f"{found.mean_K[k]:.4f}",
                three_digits(found.low_K[k]),
                three_digits(found.high_K[k]),
            )
            for k in kept
        ),
    )


def label_by_position(predictions: Predictions) -> Chart:
    """Mean confidence beside mean label at each position."""
    last, group, names = _positions(predictions)
    counts = np.bincount(group, minlength=last)
    kept = np.flatnonzero(counts)
    x = (kept + 1).astype(float).tolist()
    columns: dict[str, tuple[Role, FloatArray]] = {
        "mean confidence": ("model", np.bincount(group, predictions.confidence, last)[kept] / counts[kept]),
        "mean label": ("wrong", np.bincount(group, predictions.label, last)[kept] / counts[kept]),
    }
    marks: list[Line | Points] = []
    for name, (role, mean) in columns.items():
        tips = [f"step {names[k]}: {name} {value:.3f}" for k, value in zip(kept, mean, strict=True)]
        marks += [Line(x, mean.tolist(), role, name), Points(x, mean.tolist(), role, tips)]
    said, true = (mean for _, mean in columns.values())
    return Chart(
        name="label_by_position",
        title="Does it follow solutions as they go wrong?",
        note="Mean confidence should run along the mean label; where the lines part, it is off at that depth.",
        x=_position_axis(last, names),
        panels=(Panel(unit_axis("mean"), tuple(marks)),),
        header=("position", "steps", "mean confidence", "mean label"),
        rows=tuple(
            (names[k], f"{counts[k]:,}", f"{a:.3f}", f"{b:.3f}") for k, a, b in zip(kept, said, true, strict=True)
        ),
    )


def _positions(predictions: Predictions) -> tuple[int, IntArray, list[str]]:
    """Number of groups, the group of each step, and the groups' names."""
    greatest = int(predictions.position.max())
    last = min(greatest, LAST_POSITION)
    names = [str(k) for k in range(1, last + 1)]
    if greatest > last:
        names[-1] += "+"
    return last, np.minimum(predictions.position, last) - 1, names


def _position_axis(last: int, names: Sequence[str]) -> Axis:
    every = 1 if last <= 10 else 2 if last <= 14 else 4
    shown = [k for k in range(1, last + 1) if k == 1 or k % every == 0 or k == last]
    return Axis("step position", 0.4, last + 0.6, tuple((float(k), names[k - 1]) for k in shown))

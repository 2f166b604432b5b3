"""The charts of confidence: reliability, before and after calibration, how often each value is given.

Figures to `Chart`s; all binning is done here in numpy, so a chart of 100,000 steps is as small as one of a hundred.
Knows no HTML and no file.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from surestep.evaluation.report.charts.chart import (
    Bars,
    Chart,
    Line,
    Panel,
    Points,
    axis,
    count_axis,
    unit_axis,
)
from surestep.evaluation.report.charts.group_means import group_means
from surestep.metrics.columns import POSITIVE_LABEL, FloatArray, bin_sums
from surestep.metrics.figures.bins import NUM_BINS, equal_width_bins, reliability_equal_width
from surestep.metrics.report.wording import number
from surestep.scored import ScoredSteps

HISTOGRAM_BINS = 20
_HEADER = ("confidence", "steps", "mean confidence", "mean label")

DIAGONAL = Line((0.0, 1.0), (0.0, 1.0), "reference", "as it should be", dashed=True)


def reliability(
    name: str, title: str, table: Sequence[Mapping[str, Any]], predictions: ScoredSteps | None = None
) -> Chart:
    """Mean label against mean confidence in ten bins, and how many steps are in each.

    Args:
        name: of the chart; names its PNG.
        title: of the chart.
        table: `reliability.equal_width` of a section of `eval_metrics.json`.
        predictions: the same steps; with them the dots get intervals.
    """
    dots = _dots(table, predictions)
    counts = Bars(
        left=[row["lower"] for row in table],
        right=[row["upper"] for row in table],
        base=[0.0] * len(table),
        top=[float(row["count"]) for row in table],
        role="model",
        tips=[f"{row['count']:,} steps from {row['lower']:g} to {row['upper']:g}" for row in table],
    )
    return Chart(
        name=name,
        title=title,
        note="Dots on the dashed line are calibrated; below it the model is overconfident, above it underconfident. "
        + ("Whiskers: 95\u00a0% over problems. " if dots.low is not None else "")
        + "A larger dot is more steps; the strip counts them.",
        x=unit_axis("confidence"),
        panels=(
            Panel(unit_axis("mean label"), (DIAGONAL, dots), 0.78),
            Panel(count_axis("steps", counts.top), (counts,), 0.22),
        ),
        header=_HEADER,
        rows=_rows(table),
    )


def reliability_equal_counts(name: str, title: str, table: Sequence[Mapping[str, Any]]) -> Chart:
    """The same over bins of about equal counts: more detail where the steps are.

    Args:
        name: of the chart; names its PNG.
        title: of the chart.
        table: `reliability.equal_mass` of a section of `eval_metrics.json`.
    """
    return Chart(
        name=name,
        title=title,
        note="Every dot is about equally many steps, so dots are dense where confidences are frequent.",
        x=unit_axis("confidence"),
        panels=(Panel(unit_axis("mean label"), (DIAGONAL, _dots(table, None))),),
        header=_HEADER,
        rows=_rows(table),
    )


def _dots(table: Sequence[Mapping[str, Any]], predictions: ScoredSteps | None) -> Points:
    filled = [row for row in table if row["count"]]
    low, high = _whiskers(table, predictions)
    greatest = max((row["count"] for row in filled), default=1)
    return Points(
        x=[row["mean_confidence"] for row in filled],
        y=[row["mean_label"] for row in filled],
        role="model",
        tips=[_said_of_bin(row) for row in filled],
        name="steps",
        low=low,
        high=high,
        sizes=[row["count"] / greatest for row in filled],
    )


def _rows(table: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            f"{row['lower']:.3g} to {row['upper']:.3g}",
            f"{row['count']:,}",
            number(row["mean_confidence"]),
            number(row["mean_label"]),
        )
        for row in table
    )


def _whiskers(
    table: Sequence[Mapping[str, Any]], predictions: ScoredSteps | None
) -> tuple[list[float] | None, list[float] | None]:
    """Ends of the intervals of the filled bins: the report's own, else made here, else none."""
    filled = [row for row in table if row["count"]]
    if any(row.get("intervals") for row in filled):
        # A bin of few problems may have none: then the whisker is as long as the dot.
        ends = [(row.get("intervals") or {}).get("mean_label") or {} for row in filled]
        means = [row["mean_label"] for row in filled]
        low, high = (
            [mean if end.get(side) is None else end[side] for end, mean in zip(ends, means, strict=True)]
            for side in ("low", "high")
        )
        return low, high
    if predictions is None or predictions.num_problems < 2:
        return None, None
    bins = equal_width_bins(predictions.confidence)
    found = group_means(predictions.label, bins, predictions.problem, num_groups=NUM_BINS)
    kept = [k for k, row in enumerate(table) if row["count"]]
    return _known_or(found.low_K[kept], found.mean_K[kept]), _known_or(found.high_K[kept], found.mean_K[kept])


def before_and_after(predictions: ScoredSteps) -> Chart:
    """Reliability of the uncalibrated scores beside that of the calibrated ones."""
    marks: list[Line | Points] = [DIAGONAL]
    rows: list[tuple[str, ...]] = []
    columns = (("before calibration", predictions.raw_confidence, "wrong"), ("after", predictions.confidence, "model"))
    for said, confidence, role in columns:
        filled = [row for row in reliability_equal_width(confidence, predictions.label) if row.count]
        x = [row.mean_confidence or 0.0 for row in filled]
        y = [row.mean_label or 0.0 for row in filled]
        tips = [
            f"{said}: {row.count:,} steps, mean confidence {number(a)}, mean label {number(b)}"
            for row, a, b in zip(filled, x, y, strict=True)
        ]
        marks += [Line(x, y, role, said), Points(x, y, role, tips)]  # type: ignore[arg-type]
        rows += [
            (said, f"{row.lower:g} to {row.upper:g}", f"{row.count:,}", number(a), number(b))
            for row, a, b in zip(filled, x, y, strict=True)
        ]
    return Chart(
        name="calibration",
        title="Before and after calibration",
        note="A map fitted on validation data should bring the dots nearer to the dashed line. Ranking stays.",
        x=unit_axis("confidence"),
        panels=(Panel(unit_axis("mean label"), tuple(marks)),),
        header=("", "confidence", "steps", "mean confidence", "mean label"),
        rows=tuple(rows),
    )


def histogram(predictions: ScoredSteps) -> Chart:
    """How often each confidence is given, to right and to wrong steps."""
    edges = np.arange(HISTOGRAM_BINS + 1) / HISTOGRAM_BINS
    bins = equal_width_bins(predictions.confidence, HISTOGRAM_BINS)
    is_right = predictions.label >= POSITIVE_LABEL
    right = bin_sums(bins[is_right], num_bins=HISTOGRAM_BINS)
    wrong = bin_sums(bins[~is_right], num_bins=HISTOGRAM_BINS)
    places = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(edges)]
    common: dict[str, Any] = {"left": edges[:-1].tolist(), "right": edges[1:].tolist()}
    marks = (
        Bars(
            **common,
            base=[0.0] * HISTOGRAM_BINS,
            top=wrong.tolist(),
            role="wrong",
            tips=[f"{count:,.0f} wrong steps at {place}" for count, place in zip(wrong, places, strict=True)],
            name="label below 0.5",
        ),
        Bars(
            **common,
            base=wrong.tolist(),
            top=(wrong + right).tolist(),
            role="right",
            tips=[f"{count:,.0f} right steps at {place}" for count, place in zip(right, places, strict=True)],
            name="label 0.5 or above",
        ),
    )
    return Chart(
        name="confidence_histogram",
        title="Distribution of the confidence",
        note="Steps by confidence, stacked by label. Good: the two colours are separate.",
        x=unit_axis("confidence"),
        panels=(Panel(axis("steps", (wrong + right).tolist()), marks),),
        header=("confidence", "label below 0.5", "label 0.5 or above"),
        rows=tuple((place, f"{w:,.0f}", f"{r:,.0f}") for place, w, r in zip(places, wrong, right, strict=True)),
    )


def _known_or(values: FloatArray, otherwise: FloatArray) -> list[float]:
    known: list[float] = np.where(np.isnan(values), otherwise, values).tolist()
    return known


def _said_of_bin(row: Mapping[str, Any]) -> str:
    confidence, label = number(row["mean_confidence"]), number(row["mean_label"])
    return f"{row['count']:,} steps: mean confidence {confidence}, mean label {label}"

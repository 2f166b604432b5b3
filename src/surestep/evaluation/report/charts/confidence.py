"""The charts of confidence: reliability, before and after calibration, how often each value is given.

Figures to `Chart`s; all binning is done here in numpy, so a chart of 100,000 steps is as small as one of a hundred.
Knows no HTML and no file.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from surestep.counted import counted
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
from surestep.metrics.columns import POSITIVE_LABEL, bin_sums
from surestep.metrics.figures.bins import NUM_BINS, equal_width_bins, reliability_equal_width
from surestep.metrics.report.wording import Ends, ends_of, interval_text, number
from surestep.scored import ScoredSteps

HISTOGRAM_BINS = 20
_HEADER = ("confidence", "steps", "mean confidence", "mean label")

DIAGONAL = Line((0.0, 1.0), (0.0, 1.0), "reference", "as it should be", dashed=True)


def reliability(name: str, title: str, section: Mapping[str, Any], predictions: ScoredSteps | None = None) -> Chart:
    """Mean label against mean confidence in ten bins, and how many steps are in each.

    Args:
        name: of the chart; names its PNG.
        title: of the chart.
        section: of `eval_metrics.json`.
        predictions: the same steps; with them the dots get intervals.
    """
    table = section["reliability"]["equal_width"]
    is_binary = _is_binary(section)
    dots = _dots(table, predictions, is_binary=is_binary)
    said = iter(dots.tips)
    counts = Bars(
        left=[row["lower"] for row in table],
        right=[row["upper"] for row in table],
        base=[0.0] * len(table),
        top=[float(row["count"]) for row in table],
        role="model",
        # The same words as at the dot, which a reader is shown together with its bar.
        tips=[next(said) if row["count"] else f"{_place(row)}: 0 steps" for row in table],
    )
    return Chart(
        name=name,
        title=title,
        note="Dots on the dashed line are calibrated; below it the model is overconfident, above it underconfident. "
        + ("Whiskers: 95\u00a0% over problems. " if dots.low is not None else "")
        + "A larger dot is more steps; the strip counts them."
        + (" The mean label is the share right." if is_binary else ""),
        x=unit_axis("confidence"),
        panels=(
            Panel(unit_axis("mean label"), (DIAGONAL, dots), 0.78),
            Panel(count_axis("steps", counts.top), (counts,), 0.22),
        ),
        header=_HEADER,
        rows=_rows(table),
    )


def reliability_equal_counts(name: str, title: str, section: Mapping[str, Any]) -> Chart:
    """The same over bins of about equal counts: more detail where the steps are.

    Args:
        name: of the chart; names its PNG.
        title: of the chart.
        section: of `eval_metrics.json`.
    """
    table = section["reliability"]["equal_mass"]
    return Chart(
        name=name,
        title=title,
        note="Every dot is about equally many steps, so dots are dense where confidences are frequent.",
        x=unit_axis("confidence"),
        panels=(Panel(unit_axis("mean label"), (DIAGONAL, _dots(table, None, is_binary=_is_binary(section)))),),
        header=_HEADER,
        rows=_rows(table),
    )


def _is_binary(section: Mapping[str, Any]) -> bool:
    """Whether every label is 0 or 1, as far as the section tells; then a mean label is the share of right steps."""
    rows = section.get("by_label") or []
    return bool(rows) and all(row.get("label") in (0.0, 1.0) for row in rows)


def _dots(table: Sequence[Mapping[str, Any]], predictions: ScoredSteps | None, *, is_binary: bool) -> Points:
    filled = [row for row in table if row["count"]]
    intervals = _intervals(table, predictions)
    # A bin of few problems may have none: then the whisker is as long as the dot.
    ends = [end or (row["mean_label"],) * 2 for end, row in zip(intervals, filled, strict=True)]
    has_any = any(intervals)
    greatest = max((row["count"] for row in filled), default=1)
    return Points(
        x=[row["mean_confidence"] for row in filled],
        y=[row["mean_label"] for row in filled],
        role="model",
        tips=[_said_of_bin(row, end, is_binary=is_binary) for row, end in zip(filled, intervals, strict=True)],
        name="steps",
        low=[low for low, _ in ends] if has_any else None,
        high=[high for _, high in ends] if has_any else None,
        sizes=[row["count"] / greatest for row in filled],
    )


def _rows(table: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            _place(row),
            f"{row['count']:,}",
            number(row["mean_confidence"]),
            number(row["mean_label"]),
        )
        for row in table
    )


def _intervals(table: Sequence[Mapping[str, Any]], predictions: ScoredSteps | None) -> list[Ends | None]:
    """95 % interval of the mean label of each filled bin: the report's own, else made here; None where it has none."""
    filled = [row for row in table if row["count"]]
    if any(row.get("intervals") for row in filled):
        return [ends_of(row, "mean_label") for row in filled]
    if predictions is None or predictions.num_problems < 2:
        return [None] * len(filled)
    bins = equal_width_bins(predictions.confidence)
    found = group_means(predictions.label, bins, predictions.problem, num_groups=NUM_BINS)
    kept = [k for k, row in enumerate(table) if row["count"]]
    return [
        None if np.isnan(low) or np.isnan(high) else (low, high)
        for low, high in zip(found.low_K[kept].tolist(), found.high_K[kept].tolist(), strict=True)
    ]


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
            f"{said}: {counted(row.count, 'step')}\nmean confidence {number(a)}\nmean label {number(b)}"
            for row, a, b in zip(filled, x, y, strict=True)
        ]
        marks += [Line(x, y, role, said), Points(x, y, role, tips)]  # type: ignore[arg-type]
        rows += [
            (f"{row.lower:g} to {row.upper:g}, {said}", f"{row.count:,}", number(a), number(b))
            for row, a, b in zip(filled, x, y, strict=True)
        ]
    return Chart(
        name="calibration",
        title="Before and after calibration",
        note="A map fitted on validation data should bring the dots nearer to the dashed line. Ranking stays.",
        x=unit_axis("confidence"),
        panels=(Panel(unit_axis("mean label"), tuple(marks)),),
        header=_HEADER,
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
            tips=[
                f"{counted(round(count), 'wrong step')} at {place}" for count, place in zip(wrong, places, strict=True)
            ],
            name="label below 0.5",
        ),
        Bars(
            **common,
            base=wrong.tolist(),
            top=(wrong + right).tolist(),
            role="right",
            tips=[
                f"{counted(round(count), 'right step')} at {place}" for count, place in zip(right, places, strict=True)
            ],
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


def _place(row: Mapping[str, Any]) -> str:
    return f"{row['lower']:.3g} to {row['upper']:.3g}"


def _said_of_bin(row: Mapping[str, Any], interval: Ends | None, *, is_binary: bool) -> str:
    """What a reader is shown of a bin, a line each."""
    lines = [
        f"confidence {_place(row)}: {counted(row['count'], 'step')}",
        f"mean confidence {number(row['mean_confidence'])}",
        f"mean label{' (share right)' if is_binary else ''} {number(row['mean_label'])}",
    ]
    return "\n".join([*lines, f"95\u00a0%: {interval_text(interval)}"] if interval else lines)

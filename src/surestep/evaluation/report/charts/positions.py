"""The charts by step position: where in a solution it errs, and whether it follows solutions as they go wrong.

Made from the rows `by_position` of `eval_metrics.json`, or, where a result has none, from the predictions. Knows no
HTML and no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from surestep.counted import counted
from surestep.evaluation.report.charts.chart import (
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
from surestep.evaluation.report.charts.group_means import group_means
from surestep.metrics.columns import bin_sums
from surestep.metrics.figures import FIGURES
from surestep.metrics.report.wording import number
from surestep.scored import ScoredSteps

CHARTS = ("error_by_position", "label_by_position")
"""Their names."""
LAST_POSITION = 20
"""Where a result has no groups of its own, steps from this position on are one group."""


@dataclass(frozen=True)
class PositionGroup:
    """Steps at one position or a range of them; `low` and `high` bound the MSE, or are None."""

    name: str
    count: int
    mse: float
    low: float | None
    high: float | None
    mean_confidence: float
    mean_label: float


def position_groups(section: Mapping[str, Any], predictions: ScoredSteps | None) -> list[PositionGroup]:
    """The groups of a section, in order; empty where neither it nor predictions tell.

    >>> row = {"from": 11, "to": 15, "num_steps": 2, "mse": 0.1, "mean_confidence": 0.5, "mean_label": 0.6}
    >>> section = {"by_position": [row, {**row, "from": 16, "to": None}]}
    >>> [(group.name, group.low) for group in position_groups(section, None)]
    [('11–15', None), ('16+', None)]
    """
    rows = section.get("by_position")
    if rows:
        return [_group_of_row(row) for row in rows]
    return [] if predictions is None else _groups_of_predictions(predictions)


def range_name(first: int, last: int | None) -> str:
    """A position or a range of them; the last range has no end.

    >>> range_name(3, 3), range_name(11, 15), range_name(21, None)
    ('3', '11–15', '21+')
    """
    return f"{first}+" if last is None else str(first) if first == last else f"{first}–{last}"


def only_one_position(groups: Sequence[PositionGroup]) -> str:
    """Why there are no charts by position, where all steps stand at one; "" where there are.

    >>> only_one_position([PositionGroup("1", 5, 0.1, None, None, 0.5, 0.5)])
    'All 5 steps stand at position 1 of their solutions, so there are no charts by step position.'
    """
    if len(groups) != 1:
        return ""
    (group,) = groups
    steps = f"All {counted(group.count, 'step')} stand" if group.count != 1 else "The only step stands"
    where = f"position{'' if group.name.isdecimal() else 's'} {group.name}"
    of = "their solutions" if group.count != 1 else "its solution"
    return f"{steps} at {where} of {of}, so there are no charts by step position."


def _group_of_row(row: Mapping[str, Any]) -> PositionGroup:
    interval = (row.get("intervals") or {}).get("mse") or {}
    return PositionGroup(
        name=range_name(row["from"], row["to"]),
        count=row["num_steps"],
        mse=row["mse"],
        low=interval.get("low"),
        high=interval.get("high"),
        mean_confidence=row["mean_confidence"],
        mean_label=row["mean_label"],
    )


def _groups_of_predictions(predictions: ScoredSteps) -> list[PositionGroup]:
    greatest = int(predictions.position.max())
    last = min(greatest, LAST_POSITION)
    group = np.minimum(predictions.position, last) - 1
    error = (predictions.confidence - predictions.label) ** 2
    found = group_means(error, group, predictions.problem, num_groups=last)
    confidence, label = (bin_sums(group, values, last) for values in (predictions.confidence, predictions.label))
    return [
        PositionGroup(
            name=f"{k + 1}+" if k + 1 == last < greatest else str(k + 1),
            count=int(found.count_K[k]),
            mse=float(found.mean_K[k]),
            low=None if np.isnan(found.low_K[k]) else float(found.low_K[k]),
            high=None if np.isnan(found.high_K[k]) else float(found.high_K[k]),
            mean_confidence=float(confidence[k] / found.count_K[k]),
            mean_label=float(label[k] / found.count_K[k]),
        )
        for k in np.flatnonzero(found.count_K).tolist()
    ]


def error_by_position(groups: Sequence[PositionGroup]) -> Chart:
    """Mean squared error at each position in the solution, and how many steps stand there."""
    x = [float(k) for k in range(1, len(groups) + 1)]
    y = [group.mse for group in groups]
    low = [group.mse if group.low is None else group.low for group in groups]
    high = [group.mse if group.high is None else group.high for group in groups]
    tips = [
        f"step {group.name}: {FIGURES['mse'].title} {number(group.mse)}, {counted(group.count, 'step')}"
        for group in groups
    ]
    bars = Bars(
        left=[value - 0.4 for value in x],
        right=[value + 0.4 for value in x],
        base=[0.0] * len(x),
        top=[float(group.count) for group in groups],
        role="model",
        tips=tips,
    )
    line = (Line(x, y, "model"), Points(x, y, "model", tips, low=low, high=high))
    return Chart(
        name=CHARTS[0],
        title="Error by step position",
        note="Mean squared error of the confidence at each step of a solution. Whiskers: 95\u00a0% over problems.",
        x=_axis(groups),
        panels=(
            Panel(axis("mean squared error", high), line, 0.78),
            Panel(count_axis("steps", bars.top), (bars,), 0.22),
        ),
        header=("position", "steps", FIGURES["mse"].title, "low", "high"),
        rows=tuple(
            (group.name, f"{group.count:,}", number(group.mse), number(group.low), number(group.high))
            for group in groups
        ),
    )


def label_by_position(groups: Sequence[PositionGroup]) -> Chart:
    """Mean confidence beside mean label at each position."""
    x = [float(k) for k in range(1, len(groups) + 1)]
    columns: tuple[tuple[str, Role, list[float]], ...] = (
        ("mean confidence", "model", [group.mean_confidence for group in groups]),
        ("mean label", "wrong", [group.mean_label for group in groups]),
    )
    marks: list[Line | Points] = []
    for name, role, means in columns:
        tips = [f"step {group.name}: {name} {number(mean)}" for group, mean in zip(groups, means, strict=True)]
        marks += [Line(x, means, role, name), Points(x, means, role, tips)]
    return Chart(
        name=CHARTS[1],
        title="Mean confidence and mean label by step position",
        note="The two lines should agree; where they differ, the confidence is too high or too low at that position.",
        x=_axis(groups),
        panels=(Panel(unit_axis("mean"), tuple(marks)),),
        header=("position", "steps", "mean confidence", "mean label"),
        rows=tuple(
            (group.name, f"{group.count:,}", number(group.mean_confidence), number(group.mean_label))
            for group in groups
        ),
    )


def _axis(groups: Sequence[PositionGroup]) -> Axis:
    count = len(groups)
    every = 1 if count <= 10 else 2 if count <= 16 else 4
    shown = [k for k in range(1, count + 1) if k == count or ((k == 1 or k % every == 0) and count - k >= every / 2)]
    return Axis("step position", 0.4, count + 0.6, tuple((float(k), groups[k - 1].name) for k in shown))

"""The one chart of a sweep: each trial's figure with its interval, by the field that was tried or in order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from surestep.counted import counted
from surestep.evaluation.report.charts.chart import Axis, Chart, Line, Panel, Points, axis
from surestep.metrics.figures import FIGURES
from surestep.metrics.report.wording import number, with_interval
from surestep.sweep.plan import SweepPlan
from surestep.sweep.values import Range

_LOG_FROM = 20.0
"""Values that differ by this factor are drawn by their logarithm."""
_MOST_TICKS = 6


def sweep_chart(plan: SweepPlan, results: Mapping[str, Any]) -> Chart | None:
    """The chart; None where no trial is complete."""
    rows = [row for row in results["trials"] if row["state"] == "complete" and row["same_as"] is None]
    if not rows:
        return None
    path = _only_number(plan, rows)
    rows = sorted(rows, key=lambda row: row["trial"] if path is None else row["values"][path])
    at, across = _across(plan, path, rows)
    y = [float(row["mean"]) for row in rows]
    ends = [_ends(row) for row in rows]
    tips = [f"trial {row['trial']}: {', '.join(f'{k} {v}' for k, v in row['values'].items())}" for row in rows]
    marks: list[Line | Points] = []
    if path is None:
        marks.append(Line(at, _best_so_far(plan, y), "reference", "best so far", dashed=True))
    low, high = [end[0] for end in ends], [end[1] for end in ends]
    marks.append(Points(at, y, "model", tips, name="trial", low=low, high=high))
    best = next(k for k, row in enumerate(rows) if row["trial"] == results["best"]["trial"])
    marks.append(Points([at[best]], [y[best]], "wrong", [tips[best]], name="best", sizes=[0.6]))
    title = FIGURES[plan.metric].title
    seeds = f", mean of {counted(plan.num_seeds, 'seed')} with its 95 % interval" if plan.num_seeds > 1 else ""
    return Chart(
        name="sweep",
        title=f"Sweep {plan.name}",
        note=f"Validation {title} of each trial's best checkpoint{seeds}; {results['better']} is better.",
        x=across,
        panels=(Panel(axis(f"validation {title}", [*low, *high], from_zero=False), tuple(marks)),),
        header=("trial", *plan.space.values, plan.metric),
        rows=tuple(
            (
                str(row["trial"]),
                *(str(row["values"].get(name, "")) for name in plan.space.values),
                with_interval(value, end) if row["interval"] else number(value, 4),
            )
            for row, value, end in zip(rows, y, ends, strict=True)
        ),
    )


def _ends(row: Mapping[str, Any]) -> tuple[float, float]:
    """Its interval, or the figure twice."""
    return (row["interval"]["low"], row["interval"]["high"]) if row["interval"] else (row["mean"], row["mean"])


def _only_number(plan: SweepPlan, rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The field that was tried, where it is one only and takes numbers."""
    free = list(plan.space.free)
    if (
        len(free) != 1
        or len({row["values"][free[0]] if _is_number(row["values"][free[0]]) else "" for row in rows}) < 2
    ):
        return None
    return free[0] if all(_is_number(row["values"][free[0]]) for row in rows) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _across(plan: SweepPlan, path: str | None, rows: Sequence[Mapping[str, Any]]) -> tuple[list[float], Axis]:
    """Where each row stands, and the axis below."""
    if path is None:
        at = [float(row["trial"]) for row in rows]
        return at, axis("trial", at)
    values = [float(row["values"][path]) for row in rows]
    tried = plan.space.free[path]
    is_log = min(values) > 0 and (tried.log if isinstance(tried, Range) else max(values) / min(values) >= _LOG_FROM)
    if not is_log:
        return values, axis(path, values, from_zero=False)
    at = [math.log10(value) for value in values]
    shown = sorted(set(values))
    shown = shown if len(shown) <= _MOST_TICKS else [shown[0], shown[len(shown) // 2], shown[-1]]
    margin = 0.05 * (max(at) - min(at))
    ticks = tuple((math.log10(value), f"{value:.2g}") for value in shown)
    return at, Axis(path, min(at) - margin, max(at) + margin, ticks)


def _best_so_far(plan: SweepPlan, values: Sequence[float]) -> list[float]:
    better = min if plan.lower_is_better else max
    return [better(values[: number + 1]) for number in range(len(values))]

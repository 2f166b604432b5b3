"""The same figures within groups of steps: by position, by label, by bin of confidence, by range of the label.

A group is a selection of the steps, measured on the same draws as all of them. Knows how steps are grouped: the first
ten positions one by one, later ones in growing ranges; labels by value where they are few, else by range.

Legend: N steps, P groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from surestep.metrics.columns import BoolArray, FloatArray, IntArray, distinct_and_places
from surestep.metrics.figures.bins import (
    equal_mass_bins,
    equal_width_bins,
    reliability_equal_mass,
    reliability_equal_width,
)
from surestep.metrics.figures.figure import Figure
from surestep.metrics.figures.pointwise import (
    NUM_LABEL_RANGES,
    mae,
    mae_by_label_range,
    mean_confidence,
    mean_label,
    mse,
    nll,
)
from surestep.metrics.figures.ranking import auroc
from surestep.metrics.measure import Measure
from surestep.metrics.measured_rows import MeasuredRows
from surestep.scored import ScoredSteps

POSITION_STARTS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 16, 21, 31, 51, 101)
MOST_LABEL_VALUES = 12
MOST_RANKED = 512
"""How finely the draws of a group tell confidences apart."""
POSITION_FIGURES = (mse, mae, nll, auroc)
LABEL_FIGURES = (mse, mae, nll)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Grouping:
    """Groups of steps.

    Attributes:
        rows: what each group is, JSON-ready, P of them; every group has a step.
        group: shape (N,), the group of each step, from 0.
        figures: what is measured in each.
    """

    rows: tuple[Json, ...]
    group: IntArray
    figures: Sequence[Figure]


@dataclass(slots=True)
class MeasuredRow:
    """A row of a breakdown and what its figures come from; `measure` is None where the row has no step."""

    json: Json
    measure: Measure | None

    def add_intervals(self) -> None:
        """Put `intervals` into the row, once its measure was resampled."""
        if self.measure is not None:
            found = {name: self.measure.interval(name) for name in self.measure.figures}
            self.json["intervals"] = {name: value.to_json() for name, value in found.items() if value is not None}


def by_position(position: IntArray) -> Grouping:
    """Groups of positions, shape (N,), from 1.

    >>> by_position(np.array([1, 12, 13])).rows
    ({'from': 1, 'to': 1}, {'from': 11, 'to': 15})
    """
    bins = np.searchsorted(POSITION_STARTS, position, side="right") - 1
    used, group = distinct_and_places(bins)
    ends = [*(start - 1 for start in POSITION_STARTS[1:]), None]
    rows = tuple({"from": POSITION_STARTS[k], "to": ends[k]} for k in used.tolist())
    return Grouping(rows, group, POSITION_FIGURES)


def by_label(label: FloatArray) -> Grouping:
    """Groups of labels, shape (N,): each value where there are at most 12, else fifths of the range from 0 to 1.

    >>> by_label(np.array([1.0, 0.0, 1.0])).rows
    ({'label': 0.0}, {'label': 1.0})
    """
    values, group = distinct_and_places(label)
    if values.size <= MOST_LABEL_VALUES:
        return Grouping(tuple({"label": value} for value in values.tolist()), group, LABEL_FIGURES)
    used, group = distinct_and_places(equal_width_bins(label, NUM_LABEL_RANGES))
    rows = tuple({"from": k / NUM_LABEL_RANGES, "to": (k + 1) / NUM_LABEL_RANGES} for k in used.tolist())
    return Grouping(rows, group, LABEL_FIGURES)


def group_rows(part: ScoredSteps, grouping: Grouping, num_problems: int) -> list[MeasuredRow]:
    """One row a group: what it is, counts, mean confidence and label, and its figures."""
    rows: list[MeasuredRow] = []
    for number, what in enumerate(grouping.rows):
        ours = MeasuredRows.of(part, grouping.group == number)
        means = (mean_confidence, mean_label)
        measure = Measure(ours, (*grouping.figures, *means), num_problems=num_problems, most_groups=MOST_RANKED)
        row: Json = {**what, "num_steps": len(ours), "num_problems": ours.num_problems}
        row |= {figure.name: measure.values[figure.name] for figure in (*means, *grouping.figures)}
        rows.append(MeasuredRow({**row, "undefined": dict(measure.undefined)}, measure))
    return rows


def reliability_rows(part: ScoredSteps, num_problems: int) -> dict[str, list[MeasuredRow]]:
    """The reliability tables over bins of equal width and of equal mass."""
    p, y = part.confidence, part.label
    mass = equal_mass_bins(p)
    # The table of equal mass lists only the bins that hold a step.
    _, used = distinct_and_places(mass)
    tables = {
        "equal_width": (reliability_equal_width(p, y), equal_width_bins(p)),
        "equal_mass": (reliability_equal_mass(p, y), used),
    }
    return {
        name: [
            MeasuredRow(asdict(row), _within(part, bins == number, mean_label, num_problems) if row.count else None)
            for number, row in enumerate(rows)
        ]
        for name, (rows, bins) in tables.items()
    }


def label_range_rows(part: ScoredSteps, num_problems: int) -> list[MeasuredRow]:
    """Mean absolute error by range of the label."""
    ranges = equal_width_bins(part.label, NUM_LABEL_RANGES)
    return [
        MeasuredRow(asdict(row), _within(part, ranges == number, mae, num_problems) if row.count else None)
        for number, row in enumerate(mae_by_label_range(part.confidence, part.label))
    ]


def _within(part: ScoredSteps, rows: BoolArray, figure: Figure, num_problems: int) -> Measure:
    return Measure(MeasuredRows.of(part, rows), (figure,), num_problems=num_problems)

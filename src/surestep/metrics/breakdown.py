"""The same figures by position of the step and by value of the label.

Knows how steps are grouped: the first ten positions one by one, later ones in growing ranges; labels by value where
they are few, else by range. Knows no interval.

Legend: N steps, P groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surestep.metrics.columns import FloatArray, IntArray
from surestep.metrics.figure_table import compute_figures
from surestep.metrics.pointwise import NUM_LABEL_RANGES
from surestep.metrics.predictions import Predictions

POSITION_STARTS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 16, 21, 31, 51, 101)
MOST_LABEL_VALUES = 12
POSITION_FIGURES = ("mse", "mae", "nll", "auroc")
LABEL_FIGURES = ("mse", "mae", "nll")

Json = dict[str, object]


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
    figures: Sequence[str]


def by_position(position: IntArray) -> Grouping:
    """Groups of positions, shape (N,), from 1.

    >>> by_position(np.array([1, 12, 13])).rows
    ({'from': 1, 'to': 1}, {'from': 11, 'to': 15})
    """
    bins = np.searchsorted(POSITION_STARTS, position, side="right") - 1
    used, group = np.unique(bins, return_inverse=True)
    ends = [*(start - 1 for start in POSITION_STARTS[1:]), None]
    rows = tuple({"from": POSITION_STARTS[k], "to": ends[k]} for k in used.tolist())
    return Grouping(rows, group.astype(np.int64), POSITION_FIGURES)


def by_label(label: FloatArray) -> Grouping:
    """Groups of labels, shape (N,): each value where there are at most 12, else fifths of the range from 0 to 1.

    >>> by_label(np.array([1.0, 0.0, 1.0])).rows
    ({'label': 0.0}, {'label': 1.0})
    """
    values, group = np.unique(label, return_inverse=True)
    if values.size <= MOST_LABEL_VALUES:
        return Grouping(tuple({"label": value} for value in values.tolist()), group.astype(np.int64), LABEL_FIGURES)
    edges = np.arange(1, NUM_LABEL_RANGES) / NUM_LABEL_RANGES
    used, group = np.unique(np.searchsorted(edges, label, side="right"), return_inverse=True)
    rows = tuple({"from": k / NUM_LABEL_RANGES, "to": (k + 1) / NUM_LABEL_RANGES} for k in used.tolist())
    return Grouping(rows, group.astype(np.int64), LABEL_FIGURES)


def group_rows(part: Predictions, grouping: Grouping) -> list[Json]:
    """One row a group: what it is, counts, mean confidence and label, and its figures."""
    rows: list[Json] = []
    for number, what in enumerate(grouping.rows):
        ours = part.select(grouping.group == number)
        figures = compute_figures(
            ours.confidence, ours.label, raw_confidence=ours.raw_confidence, names=grouping.figures
        )
        rows.append(
            {
                **what,
                "num_steps": len(ours),
                "num_problems": ours.num_problems,
                "mean_confidence": float(ours.confidence.mean()),
                "mean_label": float(ours.label.mean()),
                **figures.to_json(),
            }
        )
    return rows

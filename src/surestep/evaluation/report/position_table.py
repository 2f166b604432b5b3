"""The figures at each step position of each dataset, as a table that a reader can narrow down.

Knows the layout of a section of `eval_metrics.json`; knows no HTML.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from surestep.evaluation.report.charts.positions import range_name
from surestep.metrics.figures import FIGURES
from surestep.metrics.report.wording import ends_of, interval_text, number

_COLUMNS = ("mean_confidence", "mean_label", "mse", "nll", "auroc")


@dataclass(frozen=True)
class PositionRow:
    """One dataset's steps at one position or range of positions; a cell is a figure and its interval, "" for none."""

    dataset: str
    position: str
    num_steps: int
    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class PositionTable:
    """The table: titles of the figures, rows by dataset and position, and the names that rows can be chosen by."""

    titles: tuple[str, ...]
    rows: tuple[PositionRow, ...]
    datasets: tuple[str, ...]
    positions: tuple[str, ...]


def position_table(sections: Mapping[str, Mapping[str, Any]]) -> PositionTable | None:
    """The table of sections by name; None where none of them has more than one position.

    >>> row = {"from": 1, "to": 1, "num_steps": 2, "mse": 0.1, "mean_confidence": 0.5, "mean_label": 0.6}
    >>> found = position_table({"a": {"by_position": [row, {**row, "from": 11, "to": 15}]}})
    >>> found.positions, found.rows[0].cells[2]
    (('1', '11–15'), ('0.100', ''))
    """
    found = {name: section.get("by_position") or [] for name, section in sections.items()}
    if all(len(rows) < 2 for rows in found.values()):
        return None
    starts = {range_name(row["from"], row["to"]): row["from"] for rows in found.values() for row in rows}
    return PositionTable(
        titles=tuple(FIGURES[name].title if name in FIGURES else name.replace("_", " ") for name in _COLUMNS),
        rows=tuple(_row(name, row) for name, rows in found.items() for row in rows),
        datasets=tuple(name for name, rows in found.items() if rows),
        positions=tuple(sorted(starts, key=lambda name: starts[name])),
    )


def _row(dataset: str, row: Mapping[str, Any]) -> PositionRow:
    cells = tuple((number(row.get(name)), interval_text(ends_of(row, name))) for name in _COLUMNS)
    return PositionRow(dataset, range_name(row["from"], row["to"]), row["num_steps"], cells)

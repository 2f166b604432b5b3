"""What grew by how much: rows of measured costs over sizes, their exponents, and the table of them (`growth.py`)."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

UNITS = {
    "backbone": "million weights",
    "length": "tokens",
    "tree": "nodes",
    "candidates": "candidates",
    "dataset": "rows",
    "processes": "processes",
}
"""What the sizes of a part count."""


@dataclass
class Growth:
    """One measured quantity over sizes: a row of a table, and one line of JSON.

    Attributes:
        values: None where it was not run, or failed; `notes` says why.
        is_cost: exponents say something of it.
    """

    part: str
    name: str
    unit: str
    sizes: list[int]
    values: list[float | None]
    is_cost: bool = True
    notes: list[str] = field(default_factory=list)

    @property
    def exponents(self) -> list[float | None]:
        """Between each size and the next."""
        return [slope(self.sizes[i : i + 2], self.values[i : i + 2]) for i in range(len(self.sizes) - 1)]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        found = asdict(self)
        if self.is_cost:
            found |= {"exponents": self.exponents, "exponent": slope(self.sizes, self.values)}
        return found


def slope(sizes: Sequence[int], values: Sequence[float | None]) -> float | None:
    """Slope of the least-squares line of log value over log size; None where fewer than two were measured.

    >>> slope([1, 10, 100], [2.0, 20.0, 200.0])
    1.0
    """
    known = [(math.log(size), math.log(value)) for size, value in zip(sizes, values, strict=True) if value]
    if len(known) < 2:
        return None
    x, y = np.array(known).T
    return round(float(np.polyfit(x, y, 1)[0]), 6)


def say(text: str) -> None:
    """Progress, apart from the tables."""
    print(text, file=sys.stderr, flush=True)


def table(rows: Sequence[Growth]) -> str:
    """A Markdown table of one part: a value a size, exponents between them below, the overall one last."""
    sizes = rows[0].sizes
    unit = UNITS[rows[0].part]
    lines = [f"| {rows[0].part} | " + " | ".join(f"{size:,} {unit}" for size in sizes) + " | exponent |"]
    lines.append("|" + "---|" * (len(sizes) + 2))
    for row in rows:
        steps = [f" (^{value:.2f})" if value is not None else "" for value in row.exponents] if row.is_cost else []
        cells = [shown(value) + (steps[i - 1] if i and steps else "") for i, value in enumerate(row.values)]
        overall = slope(row.sizes, row.values) if row.is_cost else None
        lines.append(f"| {row.name} | " + " | ".join(cells) + f" | {'' if overall is None else f'{overall:.2f}'} |")
    return "\n".join([*lines, *(f"- {note}" for row in rows for note in row.notes)])


def shown(value: float | None) -> str:
    """Three figures or so."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"

"""A chart as plain values: axes, panels and marks in data coordinates, and the numbers behind it as a table.

One description, two renderings: inline SVG for the page (`report_svg`) and a PNG (`report_png`), so that both always
show the same. Knows nothing of confidence, of HTML or of pixels. A mark's `role` names what it means, never a colour;
each renderer has its palette.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["model", "right", "wrong", "reference", "a", "b", "c", "d", "e", "f", "g", "h"]
SERIES_ROLES: tuple[Role, ...] = ("a", "b", "c", "d", "e", "f", "g", "h")
"""What several series of one kind get, in order; the ninth begins again."""


@dataclass(frozen=True)
class Axis:
    """One direction of a panel.

    Attributes:
        label: what is measured, with its unit.
        low, high: the range shown, low < high.
        ticks: where a number stands, and the text there.
    """

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Line:
    """A line through points (x, y); `name` "" keeps it out of the legend."""

    x: Sequence[float]
    y: Sequence[float]
    role: Role
    name: str = ""
    dashed: bool = False


@dataclass(frozen=True)
class Points:
    """Dots, each with a sentence shown on pointing at it, an optional interval in y and a relative area.

    `sizes` are areas in [0, 1]; where left out all dots are small and alike.
    """

    x: Sequence[float]
    y: Sequence[float]
    role: Role
    tips: Sequence[str]
    name: str = ""
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    sizes: Sequence[float] | None = None


@dataclass(frozen=True)
class Bars:
    """Upright bars from `base` to `top` between `left` and `right`, each with a sentence."""

    left: Sequence[float]
    right: Sequence[float]
    base: Sequence[float]
    top: Sequence[float]
    role: Role
    tips: Sequence[str]
    name: str = ""


Mark = Line | Points | Bars


@dataclass(frozen=True)
class Panel:
    """Marks over one vertical axis; `share` is its part of the chart's height."""

    y: Axis
    marks: tuple[Mark, ...]
    share: float = 1.0


@dataclass(frozen=True)
class Chart:
    """Panels one under another over a common horizontal axis.

    Attributes:
        name: names its PNG; letters, digits, `-` and `_` only.
        title: what it shows, in a few words.
        note: how to read it, in a sentence or two.
        x: the horizontal axis.
        panels: from the top down.
        header, rows: the numbers behind it.
    """

    name: str
    title: str
    note: str
    x: Axis
    panels: tuple[Panel, ...]
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = field(default=())

    def legend(self) -> list[tuple[Role, str, bool]]:
        """Role, name and whether dashed, of each named mark once."""
        found: dict[str, tuple[Role, str, bool]] = {}
        for panel in self.panels:
            for mark in panel.marks:
                if mark.name:
                    found.setdefault(mark.name, (mark.role, mark.name, isinstance(mark, Line) and mark.dashed))
        return list(found.values())


def unit_axis(label: str) -> Axis:
    """An axis from 0 to 1.

    >>> [text for _, text in unit_axis("share").ticks]
    ['0', '0.2', '0.4', '0.6', '0.8', '1']
    """
    return Axis(label, 0.0, 1.0, tuple((k / 5, f"{k / 5:g}") for k in range(6)))


def axis(label: str, values: Sequence[float], *, from_zero: bool = True, intervals: int = 4) -> Axis:
    """An axis that holds all `values`, with about `intervals` round steps (1, 2 or 5 times a power of ten).

    >>> axis("steps", [3.0, 180.0]).ticks
    ((0.0, '0'), (50.0, '50'), (100.0, '100'), (150.0, '150'), (200.0, '200'))
    """
    finite = [value for value in values if math.isfinite(value)]
    low = 0.0 if from_zero else min(finite, default=0.0)
    high = max(finite, default=1.0)
    if high <= low:
        high = low + 1.0
    step = _round_step((high - low) / intervals)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple((k * step, short(k * step)) for k in range(first, last + 1))
    return Axis(label, ticks[0][0], ticks[-1][0], ticks)


def count_axis(label: str, counts: Sequence[float]) -> Axis:
    """An axis for a narrow strip of counts: 0 and the greatest only."""
    greatest = max([*counts, 1.0])
    return Axis(label, 0.0, greatest * 1.08, ((0.0, "0"), (greatest, short(greatest))))


def short(value: float) -> str:
    """A number in few characters.

    >>> short(0.25), short(1200.0), short(100_000), short(2_500_000)
    ('0.25', '1.2k', '100k', '2.5M')
    """
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.4g}"


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if rough <= factor * power * (1 + 1e-9))

"""Figures and intervals as text: one way of writing them for pages, cards, tables and messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNDEFINED = "–"
"""What stands for a figure without a value."""
MINUS = "−"
"""The true minus sign, for pages that people read; terminals get `-`, since their text is copied."""

Ends = tuple[float, float]


def number(value: float | None, digits: int = 3, *, minus: str = MINUS, sign: str = "") -> str:
    """A figure as text; a dash where it is undefined or NaN, and no minus before zeros.

    `sign` "+" shows the sign of positive ones too.

    >>> number(0.12345), number(-0.5), number(None), number(0.25, 4, minus="-", sign="+")
    ('0.123', '−0.500', '–', '+0.2500')
    >>> number(-0.0001)
    '0.000'
    """
    if value is None or value != value:
        return UNDEFINED
    return f"{value:{sign}z.{digits}f}".replace("-", minus)


def figure(value: float | None) -> str:
    """A figure in a terminal: four decimals, or a dash where it is undefined.

    >>> figure(-0.5), figure(None)
    ('-0.5000', '–')
    """
    return number(value, 4, minus="-")


def ends_of(holder: Mapping[str, Any], name: str) -> Ends | None:
    """The interval of a figure of `holder`, where its `intervals` have one.

    >>> ends_of({"intervals": {"ece": {"low": 0.01, "high": 0.02, "method": "m"}}}, "ece")
    (0.01, 0.02)
    """
    found = (holder.get("intervals") or {}).get(name) or {}
    if found.get("low") is None or found.get("high") is None:
        return None
    return float(found["low"]), float(found["high"])


def interval_text(found: Ends | None, digits: int = 3, *, minus: str = MINUS, sign: str = "") -> str:
    """An interval as text; "" for none.

    >>> interval_text((-0.1, 0.25)), interval_text(None)
    ('−0.100 to 0.250', '')
    """
    if found is None:
        return ""
    low, high = (number(end, digits, minus=minus, sign=sign) for end in found)
    return f"{low} to {high}"


def with_interval(value: float | None, found: Ends | None, digits: int = 4, *, minus: str = "-", sign: str = "") -> str:
    """A figure and its interval in one line of a terminal.

    >>> with_interval(0.1, (0.0, 0.25), 2), with_interval(0.1, None, 2)
    ('0.10 [0.00, 0.25]', '0.10')
    """
    said = number(value, digits, minus=minus, sign=sign)
    if found is None:
        return said
    low, high = (number(end, digits, minus=minus, sign=sign) for end in found)
    return f"{said} [{low}, {high}]"


def plus_minus(value: float | None, found: Ends | None, digits: int = 3) -> str:
    """A figure and half the width of its interval, for a narrow terminal.

    >>> plus_minus(0.191, (0.18, 0.204)), plus_minus(-0.5, None), plus_minus(None, None)
    ('0.191 ±0.012', '-0.500', '–')
    """
    said = number(value, digits, minus="-")
    return said if found is None else f"{said} ±{number((found[1] - found[0]) / 2, digits)}"

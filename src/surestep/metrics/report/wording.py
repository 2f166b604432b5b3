"""Figures and intervals as text: one way of writing them for pages, cards, tables and messages.

One word has one scale and one number of decimals wherever it is read: a figure is a plain number, never a percentage,
with `FIGURE_DIGITS`; what belongs to one step has `STEP_DIGITS`; regrets and differences have `SMALL_DIGITS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNDEFINED = "–"
"""What stands for a figure without a value."""
MINUS = "−"
"""The true minus sign, for pages that people read; terminals get `-`, since their text is copied."""

FIGURE_DIGITS = 3
"""Decimals of a figure over many steps (skill, ECE, a mean confidence or label, ...) and of its interval."""
STEP_DIGITS = 2
"""Decimals of what belongs to one step: its confidence, its label, its true confidence."""
SMALL_DIGITS = 4
"""Decimals of regrets and of differences between two scorers, which are small beside the figures themselves."""

SKILL = "1 - MSE / MSE of the constant"
"""What skill is."""

Ends = tuple[float, float]


def number(value: float | None, digits: int = FIGURE_DIGITS, *, minus: str = MINUS, sign: str = "") -> str:
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
    """A figure beside its target in a terminal, where a rounded one could seem to meet it; a dash where undefined.

    >>> figure(-0.5), figure(None)
    ('-0.5000', '–')
    """
    return number(value, SMALL_DIGITS, minus="-")


def step_text(value: float | None) -> str:
    """The confidence, label or true confidence of one step.

    >>> step_text(0.979), step_text(None)
    ('0.98', '–')
    """
    return number(value, STEP_DIGITS)


def share_text(value: float) -> str:
    """A share of data or of the loss: the one kind of number that is said in percent.

    >>> share_text(0.5)
    '50.0%'
    """
    return f"{value:.1%}"


def ends_of(holder: Mapping[str, Any], name: str) -> Ends | None:
    """The interval of a figure of `holder`, where its `intervals` have one.

    >>> ends_of({"intervals": {"ece": {"low": 0.01, "high": 0.02, "method": "m"}}}, "ece")
    (0.01, 0.02)
    """
    found = (holder.get("intervals") or {}).get(name) or {}
    if found.get("low") is None or found.get("high") is None:
        return None
    return float(found["low"]), float(found["high"])


def interval_text(found: Ends | None, digits: int = FIGURE_DIGITS, *, minus: str = MINUS, sign: str = "") -> str:
    """An interval as text; "" for none.

    >>> interval_text((-0.1, 0.25)), interval_text(None)
    ('−0.100 to 0.250', '')
    """
    if found is None:
        return ""
    low, high = (number(end, digits, minus=minus, sign=sign) for end in found)
    return f"{low} to {high}"


def with_interval(
    value: float | None, found: Ends | None, digits: int = SMALL_DIGITS, *, minus: str = "-", sign: str = ""
) -> str:
    """A figure and its interval in one line of a terminal.

    >>> with_interval(0.1, (0.0, 0.25), 2), with_interval(0.1, None, 2)
    ('0.10 [0.00, 0.25]', '0.10')
    """
    said = number(value, digits, minus=minus, sign=sign)
    if found is None:
        return said
    low, high = (number(end, digits, minus=minus, sign=sign) for end in found)
    return f"{said} [{low}, {high}]"


def plus_minus(value: float | None, found: Ends | None, digits: int = FIGURE_DIGITS) -> str:
    """A figure and half the width of its interval, for a narrow terminal.

    >>> plus_minus(0.191, (0.18, 0.204)), plus_minus(-0.5, None), plus_minus(None, None)
    ('0.191 ±0.012', '-0.500', '–')
    """
    said = number(value, digits, minus="-")
    return said if found is None else f"{said} ±{number((found[1] - found[0]) / 2, digits)}"

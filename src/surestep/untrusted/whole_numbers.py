"""Whole numbers that stand as text in somebody's file, command or environment."""

from __future__ import annotations

MOST_DIGITS = 15
"""Far beyond any count here, and far below the length from which Python refuses to read a number."""


def whole_number(text: str) -> int | None:
    """The number that `text` is: ASCII digits alone, at most `MOST_DIGITS` of them; None for any other text.

    >>> whole_number("012"), whole_number("-1"), whole_number("1_000"), whole_number("٣"), whole_number("9" * 5000)
    (12, None, None, None, None)
    """
    if text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS:
        return int(text)
    return None

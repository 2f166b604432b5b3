r"""Answers of several parts: pairs, intervals, sets, lists, unions, matrices; each part is named by itself.

A list without brackets, `1, -2`, is the set of a problem's solutions, as `\{1, -2\}` is; `(1, -2)` keeps its order.
Names are those that `mathematical_form` gives to the same. Knows brackets and commas; what a part means is for others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

Name = Callable[[str], str | None]

_MATRIX = re.compile(r"\\begin\{([pbvBV]?matrix|array)\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}", re.DOTALL)
_ROWS = re.compile(r"\\\\(?:\[[^\]]*\])?")
_PAIRS = {"(": ")", "[": "]", "{": "}"}
_WORD_BETWEEN = re.compile(
    r"\s*,?\s*(?:\\(?:text|mbox|mathrm)\s*\{\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z]))\s*"
)
_LETTERS = re.compile(r"(?<!\\)(?<![A-Za-z])[A-Za-z]{3,}")
_CUP = re.compile(r"\\cup(?![A-Za-z])|(?<![A-Za-z\\])U(?![A-Za-z])")


def with_commas(text: str) -> str:
    r"""A list with commas for its words `and` and `or`; a phrase stays.

    >>> with_commas("1 and 2"), with_commas(r"x=1, x=2 \text{ or } x=3"), with_commas("salt and pepper")
    ('1, 2', 'x=1, x=2, x=3', 'salt and pepper')
    """
    made = _WORD_BETWEEN.sub(", ", text)
    if made == text or _LETTERS.search(made) or made.strip().startswith(",") or made.strip().endswith(","):
        return text
    return made


def composed_name(text: str, name: Name) -> str | None:
    r"""The name of an answer of several parts; None of one that has no parts, or a part without a name.

    Args:
        text: as `clean_answer` leaves it.
        name: gives a part its name.

    >>> composed_name("(1, 2]", str), composed_name(r"\{b, a\}", str), composed_name("b, a, b", str)
    ('(1; 2]', 'set(a; b)', 'set(a; b)')
    >>> composed_name("(a+1)(b+2)", str) is None
    True
    """
    text = text.replace("\\langle", "(").replace("\\rangle", ")").strip()
    if matrix := _MATRIX.fullmatch(text):
        return _matrix(matrix[2], name)
    parts = split_outside(text, ",")
    if parts is None:
        return None
    if len(parts) > 1:
        return _set(parts, name)
    unions = _CUP.split(text)
    if len(unions) > 1:
        found = [name(part.strip()) if _is_bracketed(part.strip()) else None for part in unions]
        return None if None in found else " or ".join(sorted({one for one in found if one}))
    if text.startswith("\\{") and text.endswith("\\}"):
        inner = split_outside(text[2:-2], ",")
        return None if inner is None or not text[2:-2].strip() else _set(inner, name)
    if not _is_bracketed(text):
        return None
    inner = split_outside(text[1:-1], ",")
    if inner is None or not text[1:-1].strip():
        return None
    if len(inner) == 1:
        return name(inner[0].strip())
    found = [name(part.strip()) for part in inner]
    return None if not all(found) else f"{text[0]}{'; '.join(one for one in found if one)}{text[-1]}"


def split_outside(text: str, sign: str) -> list[str] | None:
    """Its pieces between signs that stand in no bracket; None where brackets do not close.

    A half-open interval's brackets close each other: `[1, 2)`.

    >>> split_outside("1, (2, 3), [4, 5)", ","), split_outside("(1", ",")
    (['1', ' (2, 3)', ' [4, 5)'], None)
    """
    pieces, start, open_ones = [], 0, []
    for index, letter in enumerate(text):
        if letter in _PAIRS:
            open_ones.append(letter)
        elif letter in ")]}":
            if not open_ones or (open_ones.pop() == "{") is not (letter == "}"):
                return None
        elif letter == sign and not open_ones:
            pieces.append(text[start:index])
            start = index + 1
    return None if open_ones else [*pieces, text[start:]]


def _is_bracketed(text: str) -> bool:
    """Whether one pair of brackets encloses all of it."""
    if len(text) < 3 or text[0] not in "([" or text[-1] not in ")]":
        return False
    depth = 0
    for index, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if depth == 0:
            return index == len(text) - 1
    return False


def _set(parts: Sequence[str], name: Name) -> str | None:
    """Of values: each once, in an order of their own. Of several named values (`x=1, y=2`): with their names."""
    parts = [part.strip() for part in parts]
    if not all(parts) or any("\\pm" in part or "\\mp" in part or "\\{" in part for part in parts):
        return None  # a part is a set itself
    found = [name(part) for part in parts]
    if not all(found):
        return None
    if any(re.search(r"[<>]|\\(?:le|ge|leq|geq)(?![A-Za-z])", part) for part in parts):
        return " or ".join(sorted({one for one in found if one}))
    names = {part.partition("=")[0].strip() for part in parts if part.count("=") == 1}
    if len(names) > 1:
        found = [f"{part.partition('=')[0].strip()}={one}" for part, one in zip(parts, found, strict=True)]
    members = sorted({one for one in found if one})
    return members[0] if len(members) == 1 else f"set({'; '.join(members)})"


def _matrix(inner: str, name: Name) -> str | None:
    rows = [[cell.strip() for cell in row.split("&")] for row in _ROWS.split(inner) if row.strip()]
    if not rows or len({len(row) for row in rows}) > 1:
        return None
    found = [name(cell) for row in rows for cell in row]
    return None if not all(found) else f"matrix {len(rows)}x{len(rows[0])}({'; '.join(one for one in found if one)})"

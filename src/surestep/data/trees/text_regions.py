"""Stretches of a text that belong together whatever stands in them: fenced code, displayed formulas.

Knows Markdown's fences and LaTeX's delimiters; the time is proportional to the text. Knows text only.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

Regions = tuple[list[int], list[int]]
"""Where each of some stretches that do not meet begins, and where it ends, in order."""

# Fences as in CommonMark 0.31, section 4.5; one that is not closed goes on to the end of the text.
_FENCE = re.compile(r"(?:\A|(?<=[\r\n])) {0,3}(?P<fence>`{3,}|~{3,})(?P<info>[^\r\n]*)")
_DELIMITER = re.compile(r"(?<!\\)(?:\\\\)*(?:(?P<sign>\$\$|\\\[|\\\])|\\(?P<what>begin|end)\{(?P<name>[A-Za-z]+\*?)\})")


def whole_regions(text: str) -> Regions:
    r"""Fenced code, `$$…$$`, `\[…\]` and LaTeX environments; a formula that is never closed is none.

    >>> whole_regions("so $$x\n= 4$$ and \\[ y")
    ([3], [12])
    """
    fences = list(_fences(text)) if "```" in text or "~~~" in text else []
    formulas = _formulas(text, _as_regions(fences)) if "$$" in text or "\\" in text else []
    return _as_regions(sorted(fences + formulas))


def inside(regions: Regions, place: int) -> bool:
    """Whether the character at `place` lies within one of them.

    >>> inside(([3], [12]), 2), inside(([3], [12]), 11), inside(([3], [12]), 12)
    (False, True, False)
    """
    starts, ends = regions
    number = bisect_right(starts, place) - 1
    return number >= 0 and place < ends[number]


def _fences(text: str) -> Iterator[tuple[int, int]]:
    opened: tuple[int, str] | None = None
    for line in _FENCE.finditer(text):
        fence, info = line["fence"], line["info"].strip()
        if opened is None:
            if fence[0] == "~" or "`" not in info:
                opened = line.start(), fence
        elif fence[0] == opened[1][0] and len(fence) >= len(opened[1]) and not info:
            yield opened[0], line.end()
            opened = None
    if opened is not None:
        yield opened[0], len(text)


def _formulas(text: str, fences: Regions) -> list[tuple[int, int]]:
    """Pairs of delimiters of a kind, found with a stack for each kind."""
    found: list[tuple[int, int]] = []
    opened: dict[str, list[int]] = {}
    for mark in _DELIMITER.finditer(text):
        kind = mark["sign"] or mark["name"]
        start = mark.start("sign") if mark["sign"] else mark.start("what") - 1
        if inside(fences, start):
            continue
        kind = "\\[" if kind == "\\]" else kind
        is_end = mark["sign"] == "\\]" or mark["what"] == "end" or (kind == "$$" and opened.get(kind))
        if not is_end:
            places = opened.setdefault(kind, [])
            if not mark["name"]:  # a second \[ before any \] starts anew; environments lie within each other
                places.clear()
            places.append(start)
        elif opened.get(kind):
            found.append((opened[kind].pop(), mark.end()))
    return found


def _as_regions(spans: list[tuple[int, int]]) -> Regions:
    """Stretches in order as such that do not meet."""
    starts: list[int] = []
    ends: list[int] = []
    for start, end in spans:
        if ends and start < ends[-1]:
            ends[-1] = max(ends[-1], end)
        else:
            starts.append(start)
            ends.append(end)
    return starts, ends

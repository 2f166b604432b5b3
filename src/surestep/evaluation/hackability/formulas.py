r"""Where the formulas of a step stand, and where a step can be cut without cutting one.

Formulas are `$…$`, `\(…\)`, `\[…\]`, code, GSM8K's `<<…>>`, `\boxed{…}`, and sums such as `47 + 8 = 55`. Knows text
only, and errs on the side of taking too much for a formula: what is one is left alone.
"""

from __future__ import annotations

import re

_NUMBER = r"\d(?:[\d.,]*\d)?+"
_OPERAND = rf"(?:[-(]{{0,3}}(?:[$€£]?{_NUMBER}|\b[a-zA-Z]\b)(?:\^\w{{1,9}}|[%)!²³]){{0,4}})"
_SUM = rf"(?<![\w.,]){_OPERAND}(?:\s{{0,3}}(?:[-+*/×÷·⋅=<>≤≥≠≈:−]|\b[xX]\b)\s{{0,3}}{_OPERAND})+"
_FORMULA = re.compile(
    r"```.{0,1000}?```|`[^`\n]{1,400}`|\$\$.{1,1000}?\$\$|\\\(.{1,1000}?\\\)|\\\[.{1,1000}?\\\]|<<[^<>]{0,400}>>"
    r"|\\boxed\s?\{(?:[^{}]|\{(?:[^{}]|\{[^{}]{0,400}\}){0,400}\}){0,400}\}"
    rf"|{_SUM}|(?<!\\)\$(?!\s)[^$\n]{{1,400}}?(?<![\\\s])\$(?!\d)",
    re.DOTALL,
)
_NUMBERS = re.compile(_NUMBER)
_CLAUSE_END = re.compile(
    r"(?<=[.;!?])\s+|\n+|(?<=,)\s+(?=(?:so|and|then|which|therefore|thus|hence|because|but|giving|leaving)\b)"
)
_PAUSE = re.compile(r"(?<=[.,;:!?])[ \t]+")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|cf|mr|mrs|ms|dr|st|vs|no|fig|eq|approx|resp)|(?:^|\s)[A-Za-z0-9]{1,2})\.$", re.I
)
_TWO_WORDS = re.compile(r"\s*\S+\s+\S")
_OPEN, _CLOSE = "([{", ")]}"


def formula_spans(text: str) -> list[tuple[int, int]]:
    """Where each formula begins and ends, in order.

    >>> [text[a:b] for text in ["so 47 + 8 = 55, which is $x$"] for a, b in formula_spans(text)]
    ['47 + 8 = 55', '$x$']
    """
    return [match.span() for match in _FORMULA.finditer(text)]


def numbers_and_formulas(text: str) -> list[str]:
    """Every formula, and every number outside of formulas, in order.

    >>> numbers_and_formulas("She has 3 eggs, so 3 + 4 = 7.")
    ['3', '3 + 4 = 7']
    """
    found, done = [], 0
    for start, end in [*formula_spans(text), (len(text), len(text))]:
        found += _NUMBERS.findall(text[done:start])
        found += [text[start:end]] if end > start else []
        done = end
    return found


def clauses(text: str) -> list[str]:
    """The text cut where a sentence or a clause ends: never within a formula or brackets; all words stay, in order.

    A piece has at least two words, so that the `1.` of a list stays with what it numbers.

    >>> clauses("She sells 3 + 4 = 7 eggs, so she has (at most, so to say) 2 left. It is 2.")
    ['She sells 3 + 4 = 7 eggs,', 'so she has (at most, so to say) 2 left.', 'It is 2.']
    """
    return _pieces(text, _cuts(text, _CLAUSE_END))


def pauses(text: str) -> list[tuple[int, int]]:
    """Blanks behind punctuation, outside of formulas and brackets: where a line may end."""
    return _cuts(text, _PAUSE)


def first_left_side(text: str) -> str:
    """What stands left of the first equals sign of a formula: what the step works out; "" where it has none.

    >>> [first_left_side(text) for text in ("so 47 + 8 = 55", "it is $2x = 4$", "3 x 6 = <<3*6=18>>18", "all done")]
    ['47 + 8', '$2x$', '3 x 6', '']
    """
    for start, end in formula_spans(text):
        formula = text[start:end]
        if formula.startswith("<<"):
            formula = formula[2:]
        elif text[end : end + 3].lstrip()[:1] == "=":  # 3 x 6 = <<3*6=18>>18
            return formula
        elif formula[0] in "`\\" or formula.startswith("$$"):
            continue
        left, sign, _ = formula.partition("=")
        if not sign or left.endswith(("<", ">", "!", ":")) or left.count("{") != left.count("}"):
            continue
        if left := left.rstrip():
            return left + "$" * (left[0] == "$" and formula[-1] == "$")
    return ""


def _cuts(text: str, pattern: re.Pattern[str]) -> list[tuple[int, int]]:
    spans, found = formula_spans(text), []
    depth = done = 0
    number = 0
    for match in pattern.finditer(text):
        start, end = match.span()
        between = text[done:start]
        depth, done = depth + sum(map(between.count, _OPEN)) - sum(map(between.count, _CLOSE)), start
        while number < len(spans) and spans[number][1] <= start:
            number += 1
        inside = number < len(spans) and spans[number][0] < end
        if depth <= 0 and not inside and not _ABBREVIATION.search(text[max(0, start - 12) : start]):
            found.append((start, end))
    return found


def _pieces(text: str, cuts: list[tuple[int, int]]) -> list[str]:
    pieces, begin = [], 0
    for start, end in cuts:
        if _TWO_WORDS.match(text, begin, start) and _TWO_WORDS.match(text, end):
            pieces.append(text[begin:start].strip())
            begin = end
    return [*pieces, text[begin:].strip()]

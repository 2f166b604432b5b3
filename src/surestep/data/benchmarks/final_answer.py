"""The answer that a solution ends with, in a form in which equal answers compare equal.

The rule, in this order: the last `\\boxed{...}`; what follows the last `####`, to the end of its line; what follows a
last heading `# Answer`; the last number of the text. Knows text only; it cannot tell that 1/2 and 0.5 are equal.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_HASHES = re.compile(r"####[ \t]*(?P<answer>[^\n]+)")
_HEADING = re.compile(r"^# Answer\s*\n\s*(?P<answer>[^\n]+)", re.MULTILINE)
_NUMBER = re.compile(r"-?(?:\d[\d,]*\.?\d*|\.\d+)")
_FRACTION = re.compile(r"\\[dt]?frac\{(-?\d+)\}\{(-?\d+)\}")
_WRAPPED = re.compile(r"\\(?:text|textbf|mathrm|mbox)\{([^{}]*)\}")
_DECORATION = re.compile(r"\\(?:left|right|[!,;: ])|\\?[$%]|\^\\?circ(?:irc)?|\s")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?:\D|$))")


def extract_answer(text: str) -> str | None:
    """The normalised answer of a solution, None where the text has none.

    >>> extract_answer(r"so it is $\\boxed{\\frac{1}{2}}$."), extract_answer("#### 1,200"), extract_answer("A: 18.0")
    ('1/2', '1200', '18')
    """
    answer = written_answer(text)
    return None if answer is None else normalize_answer(answer)


def written_answer(text: str, *, only_marked: bool = False) -> str | None:
    """The answer of a solution as it stands there, None where the text has none.

    Args:
        text: the solution.
        only_marked: an answer that is marked as one; the last number of a text that breaks off is no answer.

    >>> written_answer(r"so it is $\\boxed{\\frac{1}{2}}$."), written_answer("12 + 6", only_marked=True)
    ('\\\\frac{1}{2}', None)
    """
    if (boxed := _last_boxed(text)) is not None:
        return boxed
    for pattern in (_HASHES, _HEADING):
        found = [match["answer"] for match in pattern.finditer(text)]
        if found:
            return str(found[-1])
    numbers = [] if only_marked else _NUMBER.findall(text)
    return numbers[-1] if numbers else None


def normalize_answer(answer: str) -> str | None:
    r"""Spacing, `$`, `%`, thousands commas, a final full stop and trailing zeros removed; None where nothing is left.

    >>> normalize_answer(" $1,234.50 "), normalize_answer(r"\text{ Even }."), normalize_answer("-0")
    ('1234.5', 'even', '0')
    """
    text = _WRAPPED.sub(r"\1", answer)
    text = _FRACTION.sub(r"\1/\2", text)
    text = _DECORATION.sub("", text).rstrip(".,;:").lower()
    return _plain_number(_THOUSANDS.sub("", text)) or None


def _plain_number(text: str) -> str:
    """A decimal number without what does not change its value; other text as it is."""
    if not re.fullmatch(r"[+-]?(?:\d+\.?\d*|\.\d+)", text):
        return text
    try:
        number = Decimal(text)
    except InvalidOperation:  # pragma: no cover - the pattern admits only decimals
        return text
    if number == 0:
        return "0"
    plain = format(number, "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def _last_boxed(text: str) -> str | None:
    """What stands in the last `\\boxed{}` whose braces close."""
    for start in reversed(list(_BOXED.finditer(text))):
        depth = 1
        for index in range(start.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[index], 0)
            if depth == 0:
                return text[start.end() : index]
    return None

r"""Whether two final answers say the same: one way for votes, best-of-N, generated solutions and gold answers.

Each answer gets a name, and equal names are equal answers. So it is an equivalence relation, whatever answers stand
beside, in whatever order, in whatever thread. Numbers, units, choices, words and numerals of another base are named by
their spelling (`plain_answers`), pairs, sets and intervals by their parts (`composed_answers`), all else as mathematics
by math-verify and SymPy in a process of its own, with a limit of time (`mathematical_form`). What is named by none of
them, or could take long (a tower of powers, a large factorial, a sum), is compared by its spelling.

Knows answers only; where they stand in a text is `final_answer`'s.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from importlib.util import find_spec

from surestep.data.benchmarks.answer_process import shared_process
from surestep.data.benchmarks.answer_spelling import clean_answer
from surestep.data.benchmarks.composed_answers import composed_name, with_commas
from surestep.data.benchmarks.plain_answers import plain_name, without_name

LONGEST_COMPARED = 200
"""Characters of an answer that is read as mathematics; a longer one is a text."""
INSTALL = "pip install 'surestep[benchmarks]'"
_MOST_OPERATIONS = 40
_DEEPEST = 8
"""Brackets within each other: math-verify's time doubles with each."""
_LARGEST_POWER = 200
"""Of an exponent; where powers stand within powers, of all exponents multiplied."""
_DEAR = re.compile(r"\\(?:sum|prod|int|iint|oint|lim|binom)|!|\d{31,}")
_FACTORIAL = re.compile(r"(?<![\w.])\d{1,2}!(?!!)")
_POWER = re.compile(r"\^|\*\*")
_NESTED_POWER = re.compile(r"[)}\]]\s*(?:\^|\*\*)")
_EXPONENT = re.compile(
    r"\s*(?:\{\s*-?\\[dt]?frac\{\d+\}\{\d+\}\s*\}|\{[^{}^*\\]*\}|\([^()^*\\]*\)|[+-]?\d+|\\?[A-Za-z]+)"
    r"(?!\s*[})]*\s*(?:\^|\*\*))"  # no tower
)
_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\s*\^\\circ")
_TRIGONOMETRIC = re.compile(r"\\?(?:sin|cos|tan|cot|sec|csc)(?![a-z])")
_INFINITY = re.compile(r"([+-]?)\s*(?:\\infty|infinity|inf|oo)", re.IGNORECASE)
_SOMETHING = re.compile(r"[A-Za-z\d]")
_SPELLING = "spelling:"


def comparison() -> str:
    """How answers are compared here, as a line.

    >>> "answers are compared" in comparison()
    True
    """
    if _has_math_verify():
        return "answers are compared by math-verify, numbers and words by themselves"
    return f"answers are compared by their spelling and as plain numbers: math-verify is not installed ({INSTALL})"


def equivalent(a: str, b: str) -> bool:
    r"""Whether two answers say the same: an equivalence relation.

    >>> equivalent("1,200", "$1200.0$"), equivalent("0.5", r"\\frac{1}{2}"), equivalent("3", "4")
    (True, True, False)
    """
    left, right = sorted((a, b))
    return _equivalent(left, right)


@lru_cache(maxsize=2**14)
def _equivalent(a: str, b: str) -> bool:
    return answer_name(a) == answer_name(b)


@cache
def _has_math_verify() -> bool:
    return find_spec("math_verify") is not None


def group_equivalent(answers: Sequence[str | None]) -> list[int]:
    """Answers as numbers from 0 without gaps, in order of first appearance: the same number for equivalent ones.

    No answer (None) is in a group of its own: such a candidate votes for itself alone.

    >>> group_equivalent(["18", None, "18.0", "7", None])
    [0, 1, 0, 2, 3]
    """
    numbers: dict[object, int] = {}
    keys = [(index,) if answer is None else answer_name(answer) for index, answer in enumerate(answers)]
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def kinds_of(answers: Iterable[str | None]) -> dict[str, int]:
    """How many distinct answers were compared how: as a number, as words, ..., by their spelling alone.

    >>> kinds_of(["18", "18.0", "even", None])
    {'number': 2, 'words': 1}
    """
    named = (answer_name(answer) for answer in sorted({answer for answer in answers if answer is not None}))
    return dict(sorted(Counter(_kind(name) for name in named).items()))


def needs_math_verify(answers: Iterable[str | None]) -> str | None:
    r"""The first answer that only math-verify could read, where it is not installed; else None.

    >>> needs_math_verify(["18", "even", None]) is None
    True
    """
    if _has_math_verify():
        return None
    asked = sorted({answer for answer in answers if answer is not None})
    return next((answer for answer in asked if answer_name(answer).startswith(_SPELLING)), None)


def answer_name(answer: str) -> str:
    r"""The name of what an answer says; equal for answers that say the same.

    >>> answer_name(r"x = \tfrac12"), answer_name("0.50"), answer_name(r"\text{(C)}"), answer_name("(−3, 4]")
    ('number:1/2', 'number:1/2', 'choice:C', '(number:-3; number:4]')
    """
    return _named(answer, _has_math_verify())


@lru_cache(maxsize=2**16)
def _named(answer: str, with_mathematics: bool) -> str:
    text = clean_answer(answer)
    if len(text) <= LONGEST_COMPARED:
        name = _name(text, with_mathematics)
        if name is not None:
            return name
    return _spelling(text)


def _name(text: str, with_mathematics: bool, depth: int = 0) -> str | None:
    text = without_name(with_commas(text))
    if (name := plain_name(text)) is not None:
        return name or None
    if infinity := _INFINITY.fullmatch(text):
        return "-oo" if infinity[1] == "-" else "oo"
    if depth < _DEEPEST:
        name = composed_name(text, lambda part: _name(clean_answer(part), with_mathematics, depth + 1))
        if name is not None:
            return name
    if not with_mathematics or not _SOMETHING.search(text) or _is_dear(text):
        return None
    return _mathematics(text)


def _mathematics(text: str) -> str | None:
    text = text.replace("\\langle", "(").replace("\\rangle", ")")
    if _TRIGONOMETRIC.search(text):
        text = _DEGREES.sub(r"\\frac{\1\\pi}{180}", text)
    return _asked(text)


@lru_cache(maxsize=2**16)
def _asked(text: str) -> str | None:
    return shared_process().name_of(text)


def _spelling(text: str) -> str:
    return _SPELLING + "".join(text.split()).replace("$", "")


def _kind(name: str) -> str:
    kind = name.partition(":")[0]
    return {"number": "number", "words": "words", "choice": "choice", "spelling": "spelling"}.get(kind, "mathematics")


def _is_dear(answer: str) -> bool:
    """Whether working out its value could take long."""
    operations = sum(answer.count(sign) for sign in "+-*/^\\(")
    if len(answer) > LONGEST_COMPARED or operations > _MOST_OPERATIONS or _depth(answer) > _DEEPEST:
        return True
    exponents = [_EXPONENT.match(answer, power.end()) for power in _POWER.finditer(_DEGREES.sub(r"\1", answer))]
    if _DEAR.search(_FACTORIAL.sub("1", answer)) is not None or None in exponents:
        return True
    numbers = [int(number) for exponent in exponents if exponent for number in re.findall(r"\d+", exponent[0])]
    power = math.prod(max(1, one) for one in numbers) if _NESTED_POWER.search(answer) else max(numbers, default=0)
    return power > _LARGEST_POWER


def _depth(answer: str) -> int:
    depth = deepest = 0
    for sign in answer:
        depth += (sign in "([{") - (sign in ")]}")
        deepest = max(deepest, depth)
    return deepest

"""Whether two final answers are the same: by their spelling, as numbers, else as mathematics, by math-verify.

math-verify (https://github.com/huggingface/Math-Verify, the extra `generate`) reads LaTeX and expressions and compares
them with SymPy. Its own time limit works by signals, which only a main thread has, so it is switched off here; in its
place an answer whose value could take long to work out (a tower of powers, a large factorial, a sum) is compared by
its spelling alone, as is a word. Without math-verify all answers are; `comparison()` says which it is. Knows answers
only; where they stand in a text is `final_answer`'s.
"""

from __future__ import annotations

import logging
import math
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from functools import cache, lru_cache
from importlib.util import find_spec
from typing import Any

from surestep.data.benchmarks.final_answer import normalize_answer

LONGEST_COMPARED = 200
"""Characters of an answer that is read as mathematics; a longer one is a text."""
_MOST_OPERATIONS = 40
_NUMBER = re.compile(r"(?P<top>[+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30}))(?:/(?P<bottom>\d{1,30}))?")
_WORD = re.compile(r"[^\W\d_]{3,}")
"""No mathematics, which would call "listen" and "silent" the same product of letters."""
_LARGEST_POWER = 200
"""Of all numbers in exponents of an answer, multiplied: powers may stand within powers."""
_DEAR = re.compile(r"\\(?:sum|prod|int|iint|oint|lim|binom)|!|\d{31,}")
_POWER = re.compile(r"\^|\*\*")
_EXPONENT = re.compile(
    r"\s*(?:\{\s*-?\\[dt]?frac\{\d+\}\{\d+\}\s*\}|\{[^{}^*\\]*\}|\([^()^*\\]*\)|[+-]?\d+|\\?[A-Za-z]+)"
    r"(?!\s*[})]*\s*(?:\^|\*\*))"  # no tower
)
_lock = threading.Lock()


def comparison() -> str:
    """How answers are compared here, as a line.

    >>> "answers are compared" in comparison()
    True
    """
    if _has_math_verify():
        return "answers are compared by math-verify"
    return (
        "answers are compared by their spelling and as plain numbers: math-verify is not installed "
        "(pip install 'surestep[generate]')"
    )


def equivalent(a: str, b: str) -> bool:
    r"""Whether two answers say the same; in either order, and every answer is equivalent to itself.

    >>> equivalent("1,200", "$1200.0$"), equivalent("0.5", r"\\frac{1}{2}"), equivalent("3", "4")
    (True, True, False)
    """
    left, right = sorted((a, b))
    return _equivalent(left, right)


def group_equivalent(answers: Sequence[str | None]) -> list[int]:
    """Answers as numbers from 0 without gaps, in order of first appearance: the same number for equivalent ones.

    An answer joins the first group whose first answer it is equivalent to. No answer (None) is in a group of its own:
    such a candidate votes for itself alone.

    >>> group_equivalent(["18", None, "18.0", "7", None])
    [0, 1, 0, 2, 3]
    """
    first: list[str | None] = []
    numbers = []
    for answer in answers:
        found = (
            ()
            if answer is None
            else (i for i, other in enumerate(first) if other is not None and equivalent(other, answer))
        )
        number = next(iter(found), len(first))
        if number == len(first):
            first.append(answer)
        numbers.append(number)
    return numbers


@lru_cache(maxsize=2**14)
def _equivalent(a: str, b: str) -> bool:
    if a == b:
        return True
    left, right = normalize_answer(a), normalize_answer(b)
    if left == right or left is None or right is None:
        return left == right
    numbers = _number(left), _number(right)
    if numbers[0] is not None and numbers[1] is not None:
        return numbers[0] == numbers[1]
    if not _has_math_verify() or _WORD.fullmatch(left) or _WORD.fullmatch(right) or _is_dear(a) or _is_dear(b):
        return False
    return _same_mathematics(a, b)


def _number(text: str) -> Fraction | None:
    """The value of a plain number or fraction, exactly."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    bottom = int(found["bottom"] or 1)
    return Fraction(Decimal(found["top"])) / bottom if bottom else None


def _is_dear(answer: str) -> bool:
    """Whether working out its value could take long."""
    operations = sum(answer.count(sign) for sign in "+-*/^\\(")
    if len(answer) > LONGEST_COMPARED or operations > _MOST_OPERATIONS:
        return True
    answer = answer.replace("\\!", "")  # a narrow blank
    exponents = [_EXPONENT.match(answer, power.end()) for power in _POWER.finditer(answer)]
    if _DEAR.search(answer) is not None or None in exponents:
        return True
    numbers = [number for exponent in exponents if exponent for number in re.findall(r"\d+", exponent[0])]
    return math.prod(max(1, int(number)) for number in numbers) > _LARGEST_POWER


@cache
def _has_math_verify() -> bool:
    return find_spec("math_verify") is not None


def _same_mathematics(a: str, b: str) -> bool:
    """By math-verify, whichever of the two it takes for the right one; False where it can read one of them not."""
    from math_verify import verify

    with _lock, _quiet():  # SymPy's parser is generated code that nobody calls safe for threads
        left, right = _parsed(a), _parsed(b)
        try:
            return bool(
                left
                and right
                and (verify(left, right, timeout_seconds=None) or verify(right, left, timeout_seconds=None))
            )
        except Exception:  # SymPy fails in every way over what models write
            return False


def _parsed(answer: str) -> list[Any]:
    from math_verify import parse

    try:
        return list(parse(f"${answer.strip().strip('$')}$", parsing_timeout=None))
    except Exception:
        return []


@contextmanager
def _quiet() -> Iterator[None]:
    """Within it math-verify does not log that its time limit is off."""
    loggers = [logging.getLogger(name) for name in ("math_verify.parser", "math_verify.grader")]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled

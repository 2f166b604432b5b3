r"""Answers that need no algebra: numbers of every spelling, units, choices, words, numerals of another base.

Each gets a name that is equal exactly for answers that say the same, read in microseconds. What is none of them is
mathematics (`mathematical_form`). Knows spellings as `clean_answer` leaves them.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

from surestep.data.benchmarks.answer_spelling import letters_of

LONGEST_NUMBER = 300
"""Digits of a number, and the largest power of ten beside one."""

_DIGITS = rf"\d{{1,{LONGEST_NUMBER}}}"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d{{0,{LONGEST_NUMBER}}})?|\.{_DIGITS})"
_NUMBER = re.compile(rf"(?P<sign>[+-]*)\s*(?P<number>{_DECIMAL})(?:[eE](?P<exponent>[+-]?\d{{1,3}}))?")
_REPEATING = re.compile(
    r"(?P<sign>[+-]*)\s*(?P<whole>\d{0,30})\.(?P<fixed>\d{0,30})\\(?:overline|bar)\s*\{(?P<again>\d{1,30})\}"
)
_FRACTION = re.compile(
    rf"(?P<sign>[+-]*)\s*(?:\\frac\{{\s*(?P<top>[+-]?\s?{_DECIMAL})\s*\}}\{{\s*(?P<bottom>[+-]?\s?{_DECIMAL})\s*\}}|"
    rf"(?P<left>{_DECIMAL})\s*[/:]\s*(?P<right>{_DECIMAL}))"
)
_MIXED = re.compile(
    r"(?P<sign>[+-]?)\s*(?P<whole>\d{1,30})(?:\s*\\frac\{(?P<top>\d{1,30})\}\{(?P<bottom>\d{1,30})\}|"
    r"\s+(?P<left>\d{1,30})/(?P<right>\d{1,30}))"
)
_SCIENTIFIC = re.compile(
    rf"(?P<sign>[+-]*)\s*(?P<number>{_DECIMAL})\s*(?:\\times|\\cdot|\*|x)\s*10\s*(?:\^|\*\*)\s*"
    r"(?:\{\s*(?P<braced>[+-]?\s?\d{1,3})\s*\}|(?P<bare>[+-]?\d{1,3}))"
)
_CLOCK = re.compile(r"(\d{1,2}:\d{2}(?::\d{2})?|\d{1,2}(?=\s*[ap]))\s*([ap]\.?m)?", re.IGNORECASE)
_BASE = re.compile(r"(?P<digits>[0-9A-Fa-f]{1,60})\s*_\s*(?:\{\s*)?(?P<base>\d{1,2})(?:\s*\})?")
_CHOICE = re.compile(r"(?:\(\s*([A-Za-z])\s*\)|\[\s*([A-Za-z])\s*\]|([A-Za-z])\s*\)?)[.:]?")
_CHOICE_AND_MORE = re.compile(r"\(?([A-E])\)[:.]?\s+\S.*")
_WORD = re.compile(
    r"(?<![A-Za-z\\])(?:[^\W\d_]{3,}|(?:no|on|up|in|to|if|he|we|it|is|am|pm)(?![A-Za-z]))", re.IGNORECASE
)
"""No mathematics, which would call "listen" and "silent" the same product of letters."""
_PHRASE = re.compile(r"[^\W\d_][^\\^_{}=<>+*/|]*")
_FUNCTIONS = frozenset(
    re.findall(
        r"\w+",
        "sin cos tan cot sec csc log exp sqrt max min gcd lcm mod arcsin arccos arctan sinh cosh tanh pi inf infinity",
    )
)

_CURRENCY = re.compile(r"\\?[$€£¥]\s*")
_UNIT_IN_TEXT = re.compile(
    r"\s*\\(?:text(?:bf|it|rm|normal)?|mathrm|mbox|hbox)\s*\{([^{}]*)\}\s*(?:\^\s*\{?\d\}?)?\s*$"
)
_UNIT_WORDS = re.compile(r"(?<=[\d})%])\s*((?:[A-Za-z]+[./]?\s*){1,3}(?:\^\s*\{?\d\}?)?)$")
_SPEED = re.compile(
    r"(?<=\d)\s*(?:[ck]?m|mi|ft|km|miles|feet|meters)\s*/\s*(?:s|h|hr|min|sec|hour|second)(?:\^\{?2\}?)?$"
)
_PERCENT = re.compile(r"\s*(?:\\?%|percent(?:age points?)?)\s*$", re.IGNORECASE)
_DEGREES = re.compile(r"\s*(?:\^\s*\\circ\s*[CF]?|degrees?)\s*$")
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_SHORT_UNITS = frozenset(re.findall(r"\w+", "mm cm dm km ft yd mi sq cu hr kg mg lb oz ml"))
_NO_UNITS = frozenset(
    re.findall(
        r"\w+",
        "and or to not no base mod modulo plus minus times over divided by am pm half halves third thirds quarter "
        "quarters fourth fourths fifth fifths dozen dozens score more less than pair pairs out of from is are if "
        "when where with without all for",
    )
)
"""Words behind a number that change what it says."""

_NAME = r"(?:\\?[A-Za-z]+|\\(?:text|mathrm|operatorname)\s*\{[^{}]*\})"
_NAMED = re.compile(
    rf"(?:\\(?:angle|triangle|overline|widehat)\s*)?\{{?{_NAME}'?\}}?(?:_\{{?\w+\}}?)?\s*(?:\([A-Za-z0-9, |\\]*\))?\s*"
    r"(?:=|\\in(?![A-Za-z])|:=)\s*(?P<rest>.+)",
    re.DOTALL,
)
_NAME_BEHIND = re.compile(r"(?P<rest>[^=<>]+?)\s*=\s*[A-Za-z]")
_COMPARED = re.compile(r"[<>]|\\(?:le|ge|ne|leq|geq|neq|lt|gt|approx|equiv)(?![A-Za-z])")


def without_name(text: str) -> str:
    r"""What an answer's name is equal to or lies in: of `x = 5`, `f(x) = 5`, `x \in [1, 2]` and `5 = x`.

    Of a chain `a = b = c` what stands last. An equation in several terms, a list and an inequality stay whole.

    >>> without_name("x = 5"), without_name(r"x \in [-2,7]"), without_name("2x + y = 0"), without_name("1 + 2 = 3 = x")
    ('5', '[-2,7]', '2x + y = 0', '3')
    """
    if _COMPARED.search(text) or ("=" in text and has_comma(text)):
        return text
    parts = text.split("=")
    if len(parts) > 2 and all(part.strip() for part in parts):
        text = f"{parts[-2]}={parts[-1]}" if _NAME_BEHIND.fullmatch(f"{parts[-2]}={parts[-1]}") else f"x={parts[-1]}"
    found = _NAMED.fullmatch(text) or _NAME_BEHIND.fullmatch(text)
    return found["rest"].strip() if found else text


def has_comma(text: str) -> bool:
    """Whether a comma stands outside brackets: the answer is a list.

    >>> has_comma("1, 2"), has_comma("(1, 2)")
    (True, False)
    """
    depth = 0
    for sign in text:
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth <= 0:
            return True
    return False


def plain_name(text: str) -> str | None:
    r"""The name of a plain answer; None of one that needs algebra, "" of nothing.

    Args:
        text: as `clean_answer` leaves it, without a name before it.

    >>> plain_name(r"\frac{1}{2}"), plain_name("0.50"), plain_name(r"1\frac{4}{5}"), plain_name(r"5.4 \text{ cents}")
    ('number:1/2', 'number:1/2', 'number:9/5', 'number:27/5')
    >>> plain_name("(C)"), plain_name("52_{8}"), plain_name("Even"), plain_name(r"\sqrt{2}")
    ('choice:C', 'base 8:52', 'words:even', None)
    """
    if not text:
        return ""
    value = number_of(text)
    if value is not None:
        return f"number:{value}"
    if clock := _CLOCK.fullmatch(text):
        return f"clock:{clock[1]}{(clock[2] or '').lower().replace('.', '')}"
    if base := _BASE.fullmatch(text):
        if base["digits"].isdecimal() or int(base["base"]) > 10:
            return f"base {int(base['base'])}:{base['digits'].lstrip('0').upper() or '0'}"
        return None
    letters = letters_of(text)
    if choice := _CHOICE.fullmatch(letters.strip()) or _CHOICE_AND_MORE.fullmatch(letters.strip()):
        return f"choice:{next(filter(None, choice.groups())).upper()}"
    words = _WORD.findall(letters)
    is_phrase = any(word.lower() not in _FUNCTIONS for word in words) and "\\" not in letters
    if is_phrase and (_PHRASE.fullmatch(letters) or " " in letters.strip()):
        return f"words:{' '.join(letters.casefold().split())}"
    return None


def number_of(text: str) -> Fraction | None:
    r"""The value of a number, with its currency, unit, per cent or degrees left aside; None of what is none.

    >>> number_of(r"\$18.90"), number_of(r"15\text{ cm}^2"), number_of(r"-3 \times 10^{-2}")
    (Fraction(189, 10), Fraction(15, 1), Fraction(-3, 100))
    >>> number_of(r"0.\overline{3}"), number_of("5 red apples")
    (Fraction(1, 3), Fraction(5, 1))
    >>> number_of("3 million"), number_of("1/0"), number_of("x")
    (Fraction(3000000, 1), None, None)
    """
    text, power = _without_unit(text)
    value = _value(text)
    return None if value is None else value * 10**power


def _without_unit(text: str) -> tuple[str, int]:
    """Without currency and unit, and the power of ten of words such as "million"."""
    text = re.sub(r"^([+-]?)\s*\\?[$€£¥]\s*", r"\1", text)
    text = re.sub(r"\s*\\?[$€£¥]$", "", text)
    text = _SPEED.sub("", text)
    power = 0
    for _ in range(3):
        found = _UNIT_IN_TEXT.search(text)
        if found is None or not text[: found.start()].strip():
            found = _UNIT_WORDS.search(text)
            if found is None or not _are_units(found[1]):
                break
        words, start = found[1], found.start()
        named = words.lower().replace(".", "").split()
        if not _NO_UNITS.isdisjoint(named):
            break
        power += sum(_SCALES.get(word, 0) for word in named)
        text = text[:start].strip()
    return _DEGREES.sub("", _PERCENT.sub("", _DEGREES.sub("", text))).strip(), power


def _are_units(words: str) -> bool:
    """Whether words behind a number say only of what it is: `12 inches`, `5 red apples`; "5 m" is five times m."""
    named = re.sub(r"\^\s*\{?\d\}?$", "", words).lower().replace("/", " ").replace(".", " ").split()
    return bool(named) and all(
        word in _SHORT_UNITS or (len(word) > 2 and word not in _NO_UNITS and word not in _FUNCTIONS) for word in named
    )


def _value(text: str) -> Fraction | None:
    if found := _NUMBER.fullmatch(text):
        exponent = int(found["exponent"] or 0)
        if abs(exponent) > LONGEST_NUMBER:
            return None
        return _sign(found["sign"]) * Fraction(Decimal(found["number"])) * Fraction(10) ** exponent
    if found := _FRACTION.fullmatch(text):
        if _CLOCK.fullmatch(text):
            return None
        top, bottom = found["top"] or found["left"], found["bottom"] or found["right"]
        return _ratio(top, bottom, found["sign"])
    if found := _MIXED.fullmatch(text):
        part = _ratio(found["top"] or found["left"], found["bottom"] or found["right"], "")
        return None if part is None or part >= 1 else _sign(found["sign"]) * (int(found["whole"]) + part)
    if found := _SCIENTIFIC.fullmatch(text):
        exponent = int((found["braced"] or found["bare"]).replace(" ", ""))
        if abs(exponent) > LONGEST_NUMBER:
            return None
        return _sign(found["sign"]) * Fraction(Decimal(found["number"])) * Fraction(10) ** exponent
    if found := _REPEATING.fullmatch(text):
        fixed, again = found["fixed"], found["again"]
        whole = Fraction(int(found["whole"] or 0)) + (Fraction(int(fixed), 10 ** len(fixed)) if fixed else 0)
        return _sign(found["sign"]) * (whole + Fraction(int(again), (10 ** len(again) - 1) * 10 ** len(fixed)))
    return None


def _ratio(top: str, bottom: str, sign: str) -> Fraction | None:
    below = Fraction(Decimal(bottom.replace(" ", "")))
    return _sign(sign) * Fraction(Decimal(top.replace(" ", ""))) / below if below else None


def _sign(signs: str) -> int:
    return -1 if signs.count("-") % 2 else 1

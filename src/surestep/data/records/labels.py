"""Values of a record, checked: labels, whole numbers, names and marks.

A program that keeps a column as floating point (pandas does where a value is missing) writes 3 as 3.0 and null as NaN;
both are read as what they were. Knows which values are allowed; knows no file format.
"""

from __future__ import annotations

import math
import re

from surestep.data.records.record import Record

ALLOWED = "a number from 0 to 1, true, false, or null where nobody judged the step"
WORDS: dict[str, dict[str, float]] = {
    "+ and -": {"+": 1.0, "-": 0.0},
    "true and false": {"true": 1.0, "false": 0.0},
    "good and bad": {"good": 1.0, "bad": 0.0},
    "correct and incorrect": {"correct": 1.0, "incorrect": 0.0},
}
"""Kind of words that a column of labels may be written in -> word in lower case to confidence; also numbers as text."""
_NUMBERS = "numbers from 0 to 1"
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")


class LabelWords:
    """The words of one column of labels, which are of one kind: whoever mixes two may not mean the same by them.

    >>> from pathlib import Path
    >>> words = LabelWords()
    >>> [words.read(Record({}, Path("a.jsonl"), 1), word, "label") for word in ("+", "-", " + ")]
    [1.0, 0.0, 1.0]
    """

    __slots__ = ("_first", "_kind", "_place")

    def __init__(self) -> None:
        self._kind = self._first = self._place = ""

    @property
    def are_known(self) -> bool:
        """Whether a word was read."""
        return bool(self._kind)

    def go_on_with(self, later: LabelWords) -> bool:
        """Whether `later` words, which were read without knowing these, are of their kind; these know it from now."""
        if not self._kind:
            self._kind, self._first, self._place = later._kind, later._first, later._place
        return not later._kind or later._kind == self._kind

    def read(self, record: Record, word: str, what: str) -> float:
        """The confidence that a word stands for.

        Raises:
            BadRowError: a word that is none of `WORDS` nor a number from 0 to 1, or one of another kind than before.
        """
        lowered = word.strip().casefold()
        kind = next((kind for kind, words in WORDS.items() if lowered in words), _NUMBERS)
        value = WORDS[kind][lowered] if kind in WORDS else as_number(lowered)
        if value is None or not 0.0 <= value <= 1.0:
            raise record.error(f"{what} is {word!r}; allowed: {ALLOWED}; as text: {', '.join((_NUMBERS, *WORDS))}")
        if not self._kind:
            self._kind, self._first, self._place = kind, word, record.place
        if kind != self._kind:
            raise record.error(
                f"{what} is {word!r} where {self._place} has {self._first!r}: the labels mix two kinds of words; "
                f"allowed: one of {', '.join((_NUMBERS, *WORDS))}"
            )
        return value


def as_number(text: str) -> float | None:
    """The number that a text spells in digits; None for every other text.

    >>> as_number("0.5"), as_number("1e-3"), as_number("nan"), as_number("")
    (0.5, 0.001, None, None)
    """
    return float(text) if len(text) <= 40 and _NUMBER.fullmatch(text) else None


def read_label(record: Record, value: object, what: str, words: LabelWords | None = None) -> float | None:
    """Confidence in [0, 1]: true is 1.0, false 0.0, null None; text only with `words`, which remembers its kind.

    Raises:
        DataError: anything else (text, -1, 1.5, NaN), naming file, line and value.

    >>> from pathlib import Path
    >>> read_label(Record({}, Path("a.jsonl"), 1), 0.25, "label")
    0.25
    """
    if value is None or isinstance(value, bool):
        return None if value is None else float(value)
    if words is not None and isinstance(value, str):
        return words.read(record, value, what)
    if isinstance(value, int | float) and 0.0 <= value <= 1.0:
        return float(value)
    scale = "; what a rating on another scale means is yours to say" if isinstance(value, int | float) else ""
    raise record.error(f"{what} is {value!r}; allowed: {ALLOWED}{scale}")


def whole_number(record: Record, value: object, what: str, allowed: str = "a whole number") -> int | None:
    """A whole number, also where it is written as 3.0; None for null and NaN.

    Args:
        record: named by the error.
        value: what the record holds.
        what: what it is, for the error.
        allowed: which values are, for the error.

    Raises:
        DataError: anything else (1.5, "3", true, infinity), naming file, line and value.

    >>> from pathlib import Path
    >>> row = Record({}, Path("a.jsonl"), 1)
    >>> whole_number(row, 3.0, "'label'"), whole_number(row, -1, "'label'"), whole_number(row, float("nan"), "'label'")
    (3, -1, None)
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if record.is_cells and isinstance(value, str):
        value = as_number(value.strip())  # which is text in every cell
    if (number := as_integer(value)) is not None:
        return number
    raise record.error(f"{what} is {value!r}; allowed: {allowed}")


def as_integer(value: object) -> int | None:
    """A whole number, also where it is written as 3.0; None for everything else, true and false among it.

    >>> as_integer(3.0), as_integer(3.5), as_integer("3"), as_integer(True)
    (3, None, None, None)
    """
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_name(record: Record, field: str) -> str:
    """A name given as text or as a whole number, so that 7, 7.0, "7" and " 7 " are one; "" where there is none.

    Raises:
        DataError: anything else, naming file, line and value.
    """
    value = record.get(field)
    if value is None:
        return ""
    if type(value) is str and value.isascii():
        return value.strip()
    if isinstance(value, str):
        return (record.optional_text(field) or "").strip()
    return str(whole_number(record, value, f"'{field}'", "text or a whole number"))


def read_mark(record: Record, field: str) -> bool:
    """A mark that is true or false, also as 1 and 0; false where there is none.

    Raises:
        DataError: anything else, naming file, line and value.
    """
    value = record.get(field)
    if record.is_cells and isinstance(value, str):
        value = WORDS["true and false"].get(value.strip().casefold(), value)
    if value is not None and (isinstance(value, str) or value not in (0, 1)):
        raise record.error(f"'{field}' is {value!r}; allowed: true, false or null")
    return bool(value)

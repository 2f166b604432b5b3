"""JSON records through orjson, where that is sure to give what Python's own reader gives within the same bounds.

orjson reads a record in a quarter of the time, but keeps the last of two equal keys, makes floats of long whole
numbers, and knows no bound on nesting. So it is asked again to write what it read, and what has as many keys as the
record and fits the levels holds neither. Everything that is not sure (an error among it) is left to the reader of
`json_text`, which decides what is read and words every message.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import orjson

UNSURE = object()
"""In place of a value: somebody else must read this record."""
LONGEST_NUMBER = 18
"""Digits in a row up to which every whole number fits in 64 bits."""

_AS_ZERO = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * (LONGEST_NUMBER + 1)
_NUMBER_BETWEEN = 10**15 + secrets.randbelow(9 * 10**15)
"""Stands between two records; drawn anew by every process, so that hardly any record holds it."""
_DIGITS_BETWEEN = str(_NUMBER_BETWEEN).encode()
_BETWEEN = f",{_NUMBER_BETWEEN},"


def sure_parser(depth: int) -> Callable[[str], Any] | None:
    """A reader of records that gives `UNSURE` where it is not sure; None where `depth` is beyond what orjson counts.

    Args:
        depth: levels of lists and objects within each other that a record may have.

    >>> parse = sure_parser(100)
    >>> parse('{"a": [1, 2.5]}'), parse('{"a": 1, "a": 2}') is UNSURE, parse('{"a": NaN}') is UNSURE
    ({'a': [1, 2.5]}, True, True)
    """
    parse_many = sure_parser_of_many(depth)
    if parse_many is None:
        return None

    def parse(text: str) -> Any:
        values = parse_many((text,))
        return UNSURE if values is None else values[0]

    return parse


def sure_parser_of_many(depth: int) -> Callable[[Sequence[str]], list[Any] | None] | None:
    """The same of several records at once, which takes half of the time; None of them all where one is not sure.

    >>> parse = sure_parser_of_many(100)
    >>> parse(['{"a": 1}', '{"a": 2}']), parse(['{"a": 1}', '{"a": 2'])
    ([{'a': 1}, {'a': 2}], None)
    """
    num_around = _most_levels() - depth
    if num_around < 1:
        return None
    # A value within so many lists can be written just where it has no more than `depth` levels itself. One of them is
    # that of the values.
    innermost: list[Any] = [None]
    around = innermost
    for _ in range(num_around - 1):
        around = [around]
    loads, dumps = orjson.loads, orjson.dumps

    def parse(texts: Sequence[str]) -> list[Any] | None:
        many = len(texts) > 1
        lines = [text[:-1] if text[-1:] == "\n" else text for text in texts]
        try:
            raw = (f"[{_BETWEEN.join(lines)}]" if many else lines[0]).encode()
            if b"\t" in raw or b"\r" in raw or b"\n" in raw or (b"\\u00" in raw and _spells_sign(raw)):
                return None
            if _LONG_NUMBER in raw.translate(_AS_ZERO) or (many and raw.count(_DIGITS_BETWEEN) != len(lines) - 1):
                return None
            value = loads(raw)
            innermost[:] = value if many else [value]
            written = dumps(around)
        except (ValueError, TypeError):  # UnicodeEncodeError, JSONDecodeError and JSONEncodeError are such
            return None
        # A key ends in `":`, also where a text has `\":`; blanks may stand between. What is written has no blanks and
        # one `":` a key that is left, and as many within texts, as long as none was spelled by its number.
        if raw.count(b'":') + raw.count(b" :") != written.count(b'":'):
            return None
        if not many:
            return [value]
        # It stands nowhere else; so where all of it is found between values, each of these is one record.
        is_each_alone = len(value) == 2 * len(texts) - 1 and value[1::2] == [_NUMBER_BETWEEN] * (len(texts) - 1)
        return value[::2] if is_each_alone else None

    return parse


def _spells_sign(raw: bytes) -> bool:
    """Whether a quotation mark or a colon may be spelled by its number."""
    return b"\\u0022" in raw or b"\\u003a" in raw or b"\\u003A" in raw


@cache
def _most_levels() -> int:
    """Lists within each other that orjson writes."""
    value: list[Any] = []
    for levels in range(10_000):
        try:
            orjson.dumps(value)
        except TypeError:
            return levels
        value = [value]
    return 0  # it does not count them

"""Python's spelling of lists, as tables hold it that were written by `str(list)`: read without running anything.

['first step', "it's the second"]    [1, -1, None]
"""

from __future__ import annotations

import ast
import re
from typing import Any

MOST_NESTED = 50
"""Brackets within brackets."""

_TOKEN = re.compile(
    r"""\s+ | [\[\](){},:] | None\b | True\b | False\b
    | -?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?
    | '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*" """,
    re.VERBOSE | re.DOTALL,
)


def parse_python(text: str) -> Any:
    r"""The value that `text` spells: lists, tuples and dictionaries of texts, numbers, True, False and None.

    Raises:
        ValueError: it spells anything else, or is nested too deeply.

    >>> parse_python("['a', \"it's b\", 1, None]")
    ['a', "it's b", 1, None]
    >>> parse_python("print(1)")
    Traceback (most recent call last):
    ValueError: no list in Python's spelling (character 1)
    """
    position, depth = 0, 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise ValueError(f"no list in Python's spelling (character {position + 1})")
        depth += (found[0] in "[({") - (found[0] in "])}")
        if depth > MOST_NESTED:
            raise ValueError(f"nested more than {MOST_NESTED} deep")
        position = found.end()
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise ValueError(f"no list in Python's spelling ({type(error).__name__})") from None

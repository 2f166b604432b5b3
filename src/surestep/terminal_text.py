"""Text from outside on its way to a terminal: what a terminal would obey or hide is spelled out.

A problem, a step, an id, a key or a file name may hold a control sequence that clears the screen, sets the title or
the clipboard, or turns the line around. Every line that Surestep prints goes through `visible`; a test holds it.
Knows no console and no colour.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from typing import TextIO

_OBEYED = (
    "\x00-\x09\x0b-\x1f"  # C0 (Unicode 16.0, chapter 23.1): ESC, BEL, backspace, carriage return; the newline stays
    "\x7f-\x9f"  # DEL and C1: 0x9b opens a sequence as ESC [ does, 0x9d one as ESC ]
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks, embeddings, overrides and isolates of bidirectional text
    "\u2028\u2029"  # ends of a line or a paragraph, to some terminals
)
_HIDDEN = (
    "\u00ad\u180e\u200b\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb"  # no width, and no use in a line of output
    "\U000e0000-\U000e007f"  # tags: a second, invisible alphabet
)
_HALVES = "\ud800-\udfff"  # a file name that is no UTF-8 holds them; no terminal can be sent one
# U+200C and U+200D stay: Persian, Hindi and joined emoji need them, and they move nothing.
_SPELLED = re.compile(f"[{_OBEYED}{_HIDDEN}{_HALVES}]")


def visible(text: str) -> str:
    r"""`text` with every character that a terminal would obey or hide as `\uXXXX`; a newline stays, a tab is a blank.

    The spelling is JSON's own, so that JSON text means the same after it.

    >>> visible("red \x1b[31m and \u202eback")
    'red \\u001b[31m and \\u202eback'
    >>> visible("naïve 步骤 ✓\n")
    'naïve 步骤 ✓\n'
    """
    return text if text.isascii() and text.isprintable() else _SPELLED.sub(_spell, text)


def in_one_line(text: str, *, longest: int = 4000) -> str:
    r"""`text` as one visible line of at most `longest` characters; a longer one is cut in its middle.

    The beginning says where the mistake is, the end how to mend it.

    >>> in_one_line("two\nlines\x07")
    'two lines\\u0007'
    >>> in_one_line("abcdefghij", longest=7)
    'abc…hij'
    """
    line = visible(" ".join(text.split()))
    half = (longest - 1) // 2
    return line if len(line) <= longest else f"{line[:half]}…{line[-half:]}"


def to_stderr(line: str) -> None:
    """Tell the user a line, beside whatever the program prints."""
    print_to(sys.stderr, f"· {line}")


def print_to(stream: TextIO | None, text: str) -> None:
    """Print text, made visible; to a terminal with its lines broken between words."""
    text = visible(text)
    if stream is not None and not stream.closed and stream.isatty():
        text = wrapped(text, shutil.get_terminal_size().columns)
    print(visible(text), file=stream)


def wrapped(text: str, width: int) -> str:
    r"""`text` with lines of at most `width` columns, broken at blanks only; what goes on is indented as it began.

    A word that is longer, such as a path, is left whole, so that it can be copied. Lines that fit stay as they are.

    >>> print(wrapped("· a figure that is not shown\n  to be better", 20))
    · a figure that is
      not shown
      to be better
    """
    return "\n".join(part for line in text.split("\n") for part in _pieces(line, width))


def _pieces(line: str, width: int) -> Iterator[str]:
    if (len(line) <= width and line.isascii()) or len(line) > _LONGEST_WRAPPED:
        yield line
        return
    from rich.cells import cell_len  # only where something is long

    begin = _BEGINNING.match(line)
    indent = " " * cell_len(begin[0]) if begin else ""
    while cell_len(line) > width:
        # The last blank at which what stands before it fits; else the first one there is.
        blanks = [place for place in range(len(indent), len(line)) if line[place] == " " and line[:place].strip(" ·")]
        fitting = [place for place in blanks if cell_len(line[:place]) <= width]
        if not blanks:
            break
        place = fitting[-1] if fitting else blanks[0]
        yield line[:place].rstrip(" ")
        line = indent + line[place:].lstrip(" ")
    yield line


_LONGEST_WRAPPED = 10_000
"""Characters of a line above which it is no prose."""
_BEGINNING = re.compile(r" *(?:· +|\[[x ]\] )?")
"""Blanks, and a bullet or a box."""


def _spell(found: re.Match[str]) -> str:
    code = ord(found[0])
    if found[0] == "\t":
        return " "
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"

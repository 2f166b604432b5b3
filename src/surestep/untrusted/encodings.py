"""Which encoding other than UTF-8 a text is in, as far as its first bytes tell: what a message says of it."""

from __future__ import annotations

import codecs

LOOKED_AT = 256
"""Bytes at the beginning of a text that are looked at."""

_MARKS = (  # the longer ones first: UTF-32's mark of little end begins like UTF-16's
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def not_utf8(head: bytes) -> str:
    """What a message says of a text that begins with `head` in another encoding; "" where it may be UTF-8.

    A mark of byte order tells; without one, the empty bytes that UTF-16 and UTF-32 have beside each ASCII character,
    most of them at odd or at even places. UTF-8 has none in a JSON or a table's header; a cell below may hold some.

    >>> not_utf8("a,b".encode("utf-16-be"))
    'not UTF-8 but UTF-16; save the file as UTF-8'
    >>> not_utf8(b"a,b")
    ''
    """
    name = _other_encoding(head[:LOOKED_AT])
    return f"not UTF-8 but {name}; save the file as UTF-8" if name else ""


def _other_encoding(head: bytes) -> str:
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    if 0 not in head:
        return ""
    # UTF-32 has two empty bytes side by side in every character of the first 65,536.
    if len(head) >= 8 and any(not any(head[place::4]) and not any(head[place + 1 :: 4]) for place in (0, 2)):
        return "UTF-32"
    header = head[: head.find(b"\n") + 2] if b"\n" in head else head
    if (head[:1] == b"\0") == (head[1:2] == b"\0") and header.count(0) < 2:
        return ""
    at_even, at_odd = head[::2].count(0), head[1::2].count(0)
    # A character like U+0100 has its empty byte on the other side; in a text they are few.
    return "UTF-16" if max(at_even, at_odd) >= max(2, 2 * min(at_even, at_odd)) else ""

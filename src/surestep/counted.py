"""How many there are of something, in messages: "1 row", "2,000 rows"; knows no message."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """`number` and what it counts: `one`, or `many`, which is `one` with an s where it is not given.

    >>> counted(1, "labelled row"), counted(2000, "labelled row"), counted(0, "query", "queries")
    ('1 labelled row', '2,000 labelled rows', '0 queries')
    >>> counted(1, "row has", "rows have")
    '1 row has'
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"

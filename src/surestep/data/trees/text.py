"""The white space of a text: removed around it, one kind of line end within it, once for all that is read or scored.

A problem, a step and its evidence pass through `clean_text` where trees are made (`TreeBuilder`, `RecordSteps`) and
again where text becomes tokens (`Formatter`), so that a tree made by hand reads the same. Knows text only.
"""

from __future__ import annotations

VERSION = 1
"""Changes whenever `clean_text` gives another text; part of every source's fingerprint and of the formatter's hash."""


def clean_text(text: str) -> str:
    r"""The text without white space around it, its line ends as `\n`.

    What a splitter leaves behind (the newline or blank that parted two steps) says nothing about a step, but changes
    its tokens. White space within a text stays: it may be a table or code. Cleaning twice changes nothing.

    >>> clean_text("\n 12 + 2 = 14\r\nso 14 \r\n")
    '12 + 2 = 14\nso 14'
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.strip()


def cleaned(text: str, context: str | None) -> tuple[str, str | None, int]:
    """A step's text and evidence (None where it is blank), both clean, and how many of the two were changed."""
    clean = clean_text(text)
    if context is None:
        return clean, None, int(clean != text)
    evidence = clean_text(context)
    return clean, evidence or None, int(clean != text) + int(evidence != context)

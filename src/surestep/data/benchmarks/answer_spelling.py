r"""One spelling of a final answer: without what only typesets it, with one way to write each sign.

`\tfrac12`, `\frac 1 2` and `\dfrac{1}{2}` become `\frac{1}{2}`; a Unicode minus becomes `-`, `½` a fraction; `$…$`,
`\left`, thin blanks, a final full stop and the commas of `1,200` go. Whether two spellings mean the same is
`answers`' to say. Knows text only; every search is linear in its length.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal

_SIGNS = {
    **dict.fromkeys((0x2010, 0x2011, 0x2012, 0x2013, 0x2014, 0x2015, 0x2212, 0xFE58, 0xFE63, 0xFF0D), "-"),
    **dict.fromkeys((0x00AD, 0x200B, 0x2060, 0xFEFF), None),  # invisible
    **dict.fromkeys((0x00B7, 0x2219, 0x22C5), r"\cdot "),
    0x00D7: r"\times ",
    0x00F7: "/",
    0x2044: "/",
    0x2215: "/",
    0x2217: "*",
    0x00B1: r"\pm ",
    0x2213: r"\mp ",
    0x03C0: r"\pi ",
    0x221E: r"\infty ",
    0x2264: r"\le ",
    0x2265: r"\ge ",
    0x2260: r"\ne ",
    0x2208: r"\in ",
    0x222A: r"\cup ",
    0x2229: r"\cap ",
    0x2205: r"\emptyset ",
    0x00B0: r"^\circ ",
    0x00BA: r"^\circ ",
    0x27E8: r"\langle ",
    0x27E9: r"\rangle ",
    0x211D: r"\mathbb{R}",
}
"""Characters and how LaTeX, or ASCII, writes them."""
_SUPERSCRIPTS = {ord(sign): plain for sign, plain in zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-", strict=True)}
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+")
_LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_ROOT = re.compile(r"√\s*(?:(\d+|[A-Za-z])|\(([^()]*)\))")

_SIZES = re.compile(r"\\(?:left|right|[bB]igg?[lrm]?|displaystyle|textstyle|limits|nolimits)(?![A-Za-z])\.?")
_NARROW = re.compile(r"(?<!\\)\\!")
_BLANKS = re.compile(r"(?:(?<!\\)\\(?:[,;: ~]|quad\b|qquad\b)|~|\s)+")
_FRACTION_NAME = re.compile(r"\\[dtc]frac(?![A-Za-z])")
_SHORT = re.compile(r"\\frac\s*(?:(\d)|\{\s*([^{}]*?)\s*\})\s*(?:(\d)|\{\s*([^{}]*?)\s*\})")
_SHORT_ROOT = re.compile(r"\\sqrt\s*(\d)")
_DEGREES = re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?:irc)?(?![A-Za-z]))")
_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3})((?:(?:,|\{,\})\d{3})+)(?![\d,])")
_NARROW_THOUSANDS = re.compile(r"(?<=\d)\s*(?:\{,\}|,)?\\[!,]\s*(?=\d{3}(?!\d))|(?<=\d)\{,\}(?=\d{3}(?!\d))")
_BRACKET = re.compile(r"[()\[\]{}]")
_LETTERS = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal|up)?|mathrm|mathbf|mathit|mathsf|mbox|hbox|emph|bf|rm)\s*\{([^{}]*)\}"
)
_AROUND = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("__", "__"), ("`", "`"))
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s*\{")
_ENDS = ".,;: \t\r\n"
_PLAIN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)")
_DECORATION = re.compile(r"\\?[$%]|\s")
_MIXED = re.compile(r"(?<![\d.])(\d+)\s*(?=\\frac\{\d+\}\{\d+\})")
_WHOLE_FRACTION = re.compile(r"\\frac\{(-?\d+)\}\{(-?\d+)\}")


def clean_answer(answer: str) -> str:
    r"""An answer without what only typesets it; equal for answers that differ in nothing else.

    >>> clean_answer(r" $\dfrac{1}{2}$. "), clean_answer(r"\tfrac12"), clean_answer("−5"), clean_answer(r"10,\!080")
    ('\\frac{1}{2}', '\\frac{1}{2}', '-5', '10080')
    >>> clean_answer(r"\left( 3, \frac{\pi}{2} \right)"), clean_answer(r"\boxed{\text{(C)}}"), clean_answer("x²")
    ('( 3, \\frac{\\pi}{2} )', '(C)', 'x^{2}')
    """
    text = latex_signs(answer)
    text = _without_around(text)
    text = _NARROW_THOUSANDS.sub("", _SIZES.sub("", text))
    text = _NARROW.sub("", text).replace("**", "^")
    text = _BLANKS.sub(" ", _without_thousands(text))
    text = _FRACTION_NAME.sub(r"\\frac", text)
    text = _SHORT.sub(lambda match: rf"\frac{{{match[1] or match[2]}}}{{{match[3] or match[4]}}}", text)
    text = _SHORT_ROOT.sub(r"\\sqrt{\1}", text)
    text = _DEGREES.sub(r"^\\circ ", text)
    whole = _LETTERS.fullmatch(text.strip(_ENDS))
    return _without_around(whole[1] if whole else text)


def normalize_answer(answer: str) -> str | None:
    r"""A short spelling to show; None where nothing is left.

    Not what answers are compared by: `surestep.data.benchmarks.answers` is.

    >>> normalize_answer(" $1,234.50 "), normalize_answer(r"\text{ Even }."), normalize_answer("-0")
    ('1234.5', 'even', '0')
    """
    text = _MIXED.sub(r"\1+", _LETTERS.sub(r"\1", clean_answer(answer)))
    text = _WHOLE_FRACTION.sub(r"\1/\2", text).replace(r"^\circ", "")
    text = _DECORATION.sub("", text).rstrip(_ENDS).lower()
    return _plain_number(_without_thousands(text)) or None


def latex_signs(text: str) -> str:
    r"""Unicode's signs, full-width and raised digits and fractions as LaTeX or ASCII.

    >>> latex_signs("−5"), latex_signs("½"), latex_signs("√5"), latex_signs("３²")
    ('-5', '\\frac{1}{2}', '\\sqrt{5}', '3^{2}')
    """
    if text.isascii():
        return text
    text = _RAISED.sub(lambda match: f"^{{{match[0].translate(_SUPERSCRIPTS)}}}", text)
    text = _LOWERED.sub(lambda match: f"_{{{unicodedata.normalize('NFKC', match[0])}}}", text)
    text = "".join(map(_plain_character, text)).translate(_SIGNS)
    return _ROOT.sub(lambda match: rf"\sqrt{{{match[1] or match[2]}}}", text)


def letters_of(text: str) -> str:
    r"""Text with the letters of `\text{...}` and its like as they stand in it.

    >>> letters_of(r"5.4 \text{ cents}")
    '5.4  cents'
    """
    return _LETTERS.sub(r"\1", text)


def _plain_character(sign: str) -> str:
    if sign.isascii() or ord(sign) in _SIGNS:
        return sign
    if unicodedata.decomposition(sign).startswith("<fraction>"):
        top, bottom = unicodedata.normalize("NFKC", sign).split("\u2044")
        return rf"\frac{{{top}}}{{{bottom}}}" if bottom else sign
    if unicodedata.decomposition(sign).split(" ")[0] in ("<wide>", "<font>", "<noBreak>"):
        return unicodedata.normalize("NFKC", sign)
    return str(unicodedata.decimal(sign)) if sign.isdecimal() else sign


def _without_around(text: str) -> str:
    """Without delimiters, boxes and emphasis around the whole, and without punctuation behind it."""
    before = None
    while before != text:
        before = text
        text = _without_end(text)
        for start, end in _AROUND:
            if len(text) > len(start) + len(end) and text.startswith(start) and text.endswith(end):
                inner = text[len(start) : -len(end)]
                text = text if start in inner or end in inner else inner
        box = _BOX.match(text)
        if box and text.endswith("}") and _closes_at_end(text, box.end()):
            text = text[box.end() : -1]
    return text


def _without_end(text: str) -> str:
    """Without blanks around it and punctuation behind it; the blank of a final backslash stays with it."""
    stripped = text.strip().rstrip(_ENDS)
    return stripped + text.strip()[len(stripped) : len(stripped) + 1] if stripped.endswith("\\") else stripped


def _closes_at_end(text: str, start: int) -> bool:
    depth = 1
    for index in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return index == len(text) - 1
    return False


def _without_thousands(text: str) -> str:
    """Commas between groups of three digits go; within brackets, where they part the elements, they stay."""
    if not _BRACKET.search(text):
        return _THOUSANDS.sub(lambda match: match[1] + re.sub(r"[,{}]", "", match[2]), text)
    return "".join(
        piece if depth else _THOUSANDS.sub(lambda match: match[1] + re.sub(r"[,{}]", "", match[2]), piece)
        for piece, depth in _by_depth(text)
    )


def _by_depth(text: str) -> Iterator[tuple[str, int]]:
    """Its stretches with how many brackets are open around each."""
    depth = start = 0
    for found in _BRACKET.finditer(text):
        yield text[start : found.start()], depth
        depth = depth + 1 if found[0] in "([{" else max(0, depth - 1)
        start = found.start()
    yield text[start:], depth


def _plain_number(text: str) -> str:
    """A decimal number without what does not change its value; other text as it is."""
    if not _PLAIN.fullmatch(text):
        return text
    number = Decimal(text)
    if number == 0:
        return "0"
    plain = format(number, "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain

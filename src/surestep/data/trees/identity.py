"""What a problem is: when two texts, or two trees, are about the same one.

Splits, intervals, folds, overlaps and leaks all ask here, so that none of them counts a problem twice. Variants that
differ only in how they are typed (`$…$`, white space, blanks around operators, Unicode forms, case, a final full stop)
are one problem; a sign, a digit or a word more makes another. Knows text only, not meaning.
"""

from __future__ import annotations

import re
import unicodedata

from surestep.types import ReasoningTree

VERSION = 3
"""Changes whenever a key does; part of every source's fingerprint."""

_BETWEEN = "\x1f"
"""Stands between a dataset's name and a group. It is white space, so no normalised text and no name holds it."""

_SIGNS = {
    **{code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)},  # full-width letters, digits and signs
    **dict.fromkeys((0x2010, 0x2011, 0x2012, 0x2013, 0x2014, 0x2015, 0x2212, 0xFE58, 0xFE63, 0xFF0D), "-"),
    **dict.fromkeys((0x00B7, 0x2219, 0x22C5), "⋅"),
    **dict.fromkeys((0x2217, 0xFE61), "*"),
    **dict.fromkeys((0x2044, 0x2215), "/"),
    **dict.fromkeys((0x2018, 0x2019, 0x2032), "'"),
    **dict.fromkeys((0x201C, 0x201D, 0x2033), '"'),
    **dict.fromkeys((0x00AD, 0x200B, 0x2060, 0xFEFF), None),  # invisible: soft hyphen, zero width, joiner, byte order
    0x2236: ":",
    0x2026: "...",
    0x3002: ".",
    0xFE62: "+",
    0xFE66: "=",
}
"""Characters that are another way to type the sign beside them. Not here: superscripts, fractions such as ½, and
mathematical letters and digits, which mean something else than the plain ones."""

_DISPLAY = re.compile(r"(?<!\\)\$\$(.+?)(?<!\\)\$\$|(?<!\\)\\\[(.+?)(?<!\\)\\\]", re.DOTALL)
_INLINE = re.compile(r"(?<!\\)\\\((.+?)(?<!\\)\\\)", re.DOTALL)
_DOLLAR = re.compile(r"(?<!\\)\$")
_SIGN_OF_COMMAND = {
    "times": "×",
    "cdot": "⋅",
    "div": "÷",
    "pm": "±",
    "mp": "∓",
    "approx": "≈",
    "equiv": "≡",
    "cong": "≅",
    "sim": "∼",
    **dict.fromkeys(("le", "leq", "leqslant"), "≤"),
    **dict.fromkeys(("ge", "geq", "geqslant"), "≥"),
    **dict.fromkeys(("ne", "neq"), "≠"),
    **dict.fromkeys(("to", "rightarrow"), "→"),
    "in": "∈",
    "notin": "∉",
    "cup": "∪",
    "cap": "∩",
    "subset": "⊂",
    "subseteq": "⊆",
    "wedge": "∧",
    "vee": "∨",
}
_COMMAND = re.compile(rf"\\({'|'.join(_SIGN_OF_COMMAND)})(?![a-zA-Z])")
_ESCAPED = re.compile(r"\\([$%])")

# "×", "⋅" and "*" are one sign between numbers only: of vectors, × and ⋅ are different products, and a problem may
# define an operation of its own for *.
_TIMES = re.compile(r"(?<=\d) ?[×⋅*] ?(?=\d)")
_OPERATOR = r"[-+*/=<>^%×÷⋅±∓≤≥≠≈≡≅∼→∈∉∪∩⊂⊆∧∨]"
_OPERATORS = re.compile(rf" ?({_OPERATOR}) ?")
_RATIO = re.compile(r"(?<=\d) : (?=\d)")
_INSIDE_BRACKETS = re.compile(r"(?<=[(\[{]) | (?=[)\]}])")
_BEFORE_PUNCTUATION = re.compile(r" (?=[,.;:?!](?: |$))")
_SPACES = (
    (_OPERATORS, r"\1", re.compile(_OPERATOR)),
    (_RATIO, ":", re.compile(" : ")),
    (_INSIDE_BRACKETS, "", re.compile(r"[(\[{] | [)\]}]")),
    (_BEFORE_PUNCTUATION, "", re.compile(" [,.;:?!]")),
)
"""Where blanks are taken away, what stays in their place, and what finds sooner that a text has no such place."""
# A final "!" goes after a word only: "Compute 5!" asks for a factorial.
_TRAILING = re.compile(r"(?:[.?:; ]|(?<=[^\W\d_]{3}) ?!)+$")
_ENDS = ".?:;! "
"""All that `_TRAILING` takes."""
_COMMAND_AT_END = re.compile(r"\\[a-z]+ ?!+[.?:; ]*$")


def normalize_text(text: str) -> str:
    r"""A form in which copies of one problem are equal; for comparing, not for showing.

    >>> normalize_text("  What is  $2 + 2$? ") == normalize_text("what is 2+2")
    True
    >>> normalize_text("２ − 3 = ?"), normalize_text("It costs \\$5.")
    ('2-3=', 'it costs $5')
    >>> len({normalize_text(text) for text in ("-3", "3", "2 3", "23", "5!", "5", "$5", "x-y", "x y")})
    9
    """
    is_ascii = text.isascii()  # and so in its normal form, with no sign that is another's
    result = text if is_ascii else unicodedata.normalize("NFC", text).translate(_SIGNS)
    result = "".join(map(_plain_digit, result)) if not result.isascii() else result
    result = _without_maths_delimiters(result)
    # A pattern that looks behind itself stops at every character, so each is asked only where it may find something.
    has_commands = "\\" in result
    if has_commands:
        result = _COMMAND.sub(lambda match: _SIGN_OF_COMMAND[match[1]], result)
        result = _ESCAPED.sub(r"\1", result)
    result = result.lower() if result.isascii() else unicodedata.normalize("NFC", result.casefold())
    result = " ".join(result.split())
    if "*" in result or "×" in result or "⋅" in result:
        result = _TIMES.sub("*", result)
    if " " in result:  # which is all that these take away
        for pattern, replacement, sooner in _SPACES:
            if sooner is None or sooner.search(result) is not None:
                result = pattern.sub(replacement, result)
    if not (has_commands and "!" in result and _COMMAND_AT_END.search(result)):
        result = _without_end(result)
    # A problem of nothing but punctuation keeps it: "?" and "..." are not one problem.
    return result.strip() or " ".join(text.split())


def _without_end(text: str) -> str:
    """Without what `_TRAILING` finds, which is looked for where nothing else follows."""
    kept = len(text.rstrip(_ENDS))
    found = None if kept == len(text) else _TRAILING.search(text, kept)
    return text if found is None else text[: found.start()]


def key_of(problem: str, *, group: str = "", dataset: str = "") -> str:
    """What keeps trees of one problem together: the group within its dataset, else the normalised text.

    A group of one dataset is never one of another ("17" and "17" are two problems); a text without a group is the same
    problem in every dataset.

    >>> key_of("1 + 1 = ?", dataset="a") == key_of("$1+1=$", dataset="b")
    True
    >>> key_of("x", group="17", dataset="a") == key_of("x", group="17", dataset="b")
    False
    """
    return f"{dataset}{_BETWEEN}{group}" if group else normalize_text(problem)


def problem_key(tree: ReasoningTree) -> str:
    """`key_of` a tree: equal for trees that never part when data is split and that count as one problem."""
    return key_of(tree.problem, group=tree.group, dataset=tree.dataset)


def _plain_digit(character: str) -> str:
    """Decimal digits of any script as 0 to 9; mathematical ones stay, as bold and double-struck digits mean more."""
    if character.isascii() or not character.isdecimal() or "\U0001d7ce" <= character <= "\U0001d7ff":
        return character
    return str(unicodedata.decimal(character))


def _without_maths_delimiters(text: str) -> str:
    r"""Without `$…$`, `$$…$$`, `\(…\)` and `\[…\]`; a `$` that means money stays."""
    if "$" not in text and "\\" not in text:
        return text
    text = _DISPLAY.sub(lambda match: f" {match[1] or match[2]} ", text)
    text = _INLINE.sub(lambda match: _joined(text, match.start(), match.end(), match[1]), text)
    dollars = [match.start() for match in _DOLLAR.finditer(text)]
    parts: list[str] = []
    done = number = 0
    while number + 1 < len(dollars):
        start, end = dollars[number], dollars[number + 1]
        if _is_maths(text, start, end):
            parts += [text[done:start], _joined(text, start, end + 1, text[start + 1 : end])]
            done, number = end + 1, number + 2
        else:
            number += 1
    return "".join(parts) + text[done:]


def _is_maths(text: str, start: int, end: int) -> bool:
    """Whether the `$` at `start` and `end` enclose mathematics: "$5 and $6" are two prices."""
    inside, after = text[start + 1 : end], text[end + 1 : end + 2]
    opens_a_price = after.isdecimal() or (inside[-1:].isspace() and after.isalnum())
    return bool(inside.strip()) and not opens_a_price and "\n\n" not in inside


def _joined(text: str, start: int, end: int, inside: str) -> str:
    """What stood between delimiters; a blank where digits would run together that the delimiters kept apart."""
    before = " " if text[max(start - 1, 0) : start].isdecimal() and inside[:1].isdecimal() else ""
    following = text[end : end + 3].lstrip("$\\(")[:1]
    return f"{before}{inside}{' ' if inside[-1:].isdecimal() and following.isdecimal() else ''}"

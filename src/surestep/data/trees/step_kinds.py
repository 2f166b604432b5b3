"""What kind of step a text is: arithmetic, algebra or text, by a rule that reads nothing but the text.

The rule, in the order in which it is tried:

1. *algebra*: a variable stands beside an operator, a relation, a bracket that it is applied to (`f(x)`), or right
   behind a number (`2x`). A variable is a letter alone, outside of a word; within `$...$`, `\\(...\\)` and
   `\\[...\\]` any letter is.
2. *arithmetic*: a number stands beside an operator or a relation (`12 / 4`, `= 7`, `\\frac{3}{4}`).
3. *text*: everything else, also a step that only names numbers and letters ("there are 5 apples", "let x be 3").

Numbers and bullets in front of a line, `**`, tags (`<b>`), LaTeX commands (`\\frac` and `\\cdot` become operators) and
`\\text{...}` count for nothing, and neither do hyphens and strokes within words ("two-digit", "km/h"). Knows no
dataset and no label.
"""

from __future__ import annotations

import re
from typing import Literal

StepKind = Literal["arithmetic", "algebra", "text"]
STEP_KINDS: tuple[StepKind, ...] = ("arithmetic", "algebra", "text")

_MOST_CHARACTERS = 20_000
"""A step's kind is decided by its beginning, where it is longer."""

_SPELT = {
    "×": "*", "·": "*", "⋅": "*", "∙": "*", "÷": "/", "−": "-", "–": "-", "≤": "<", "≥": ">", "≠": "=", "≈": "=",
    "≡": "=", "√": "^", "²": "^2", "³": "^3", "π": "3",
}  # fmt: skip
_SPELT_PATTERN = re.compile("|".join(map(re.escape, _SPELT)))
_COMMANDS = {
    **dict.fromkeys(("cdot", "times", "ast", "div", "pm", "mp", "frac", "dfrac", "tfrac", "binom", "sqrt"), "*"),
    **dict.fromkeys(("le", "leq", "ge", "geq", "lt", "gt", "ne", "neq", "equiv", "approx", "sim", "pmod", "in"), "="),
    **dict.fromkeys(("sum", "prod", "int", "log", "ln", "sin", "cos", "tan", "lim"), "+"),
    **dict.fromkeys(("alpha", "beta", "gamma", "delta", "theta", "lambda", "mu", "sigma", "phi", "omega"), " x "),
    "pi": "3",
}
_WORDS_IN_TEX = re.compile(r"\\(?:text|textbf|textit|mathrm|mbox|operatorname|begin|end)\s*\{[^{}]*\}")
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9]{0,9} ?/?>")
_LINE_START = re.compile(r"^[ \t]*(?:[-*•][ \t]+|\d{1,3}[.)][ \t]+|#+[ \t]+)+", re.MULTILINE)
# No opening within an opened one, so that many unclosed ones take no longer than their length.
_TEX = re.compile(r"\$\$?([^$]*)\$\$?|\\\(((?:(?!\\[()]).)*)\\\)|\\\[((?:(?!\\[\[\]]).)*)\\\]", re.DOTALL)
# A stroke within or behind a word is none, nor is a dash before one; spelt out twice, for a look behind has one width.
_STROKE = r"(?:-(?!\s{0,3}[A-Za-z]{2})|/(?![A-Za-z]{2}))"
_OPERATOR = rf"(?:[+*^=<>_]|(?<![A-Za-z]){_STROKE}|(?<=\b[A-Za-z]){_STROKE})"
_SIGN = re.compile(r"[-+*/^=<>_]")
"""What every operator and relation is one of: a text without them is quickly known to have nothing beside one."""
_NUMBER = r"\d"
_BRACKETS = r"[\s()\[\]{}|,]{0,6}"


def _beside(what: str) -> re.Pattern[str]:
    """`what` beside an operator or a relation, brackets and blanks between them."""
    return re.compile(rf"{what}{_BRACKETS}{_OPERATOR}|{_OPERATOR}{_BRACKETS}[-+]?{what}")


_WORD_LETTER = r"(?<![A-Za-z'’])[A-Za-z](?![A-Za-z'’])"
_VARIABLE_BESIDE = _beside(_WORD_LETTER)
_APPLIED = re.compile(rf"{_WORD_LETTER}\(|\d{_WORD_LETTER}(?![\d-])")
_LETTER_BESIDE = _beside("[A-Za-z]")
_LETTER_APPLIED = re.compile(r"[A-Za-z]\(|\d[A-Za-z]")
_NUMBER_BESIDE = _beside(_NUMBER)


def step_kind(text: str) -> StepKind:
    """The kind of a step, by the rule above.

    >>> [step_kind(text) for text in ("So 3 * 4 = 12.", "Then 2x + 1 = 7.", "We look for the number of apples.")]
    ['arithmetic', 'algebra', 'text']
    >>> step_kind("She has 5 apples left."), step_kind(r"\\frac{3}{4} of it"), step_kind("$ab = 6$")
    ('text', 'arithmetic', 'algebra')
    """
    text = _SPELT_PATTERN.sub(lambda found: _SPELT[found[0]], text[:_MOST_CHARACTERS])
    text = _TAG.sub(" ", _LINE_START.sub("", text)).replace("**", "")
    text = _WORDS_IN_TEX.sub(" ", text)
    formulas = (next(filter(None, found.groups()), "") for found in _TEX.finditer(text))
    if any(_is_algebra_of_tex(_without_commands(formula)) for formula in formulas):
        return "algebra"
    plain = _without_commands(text.replace("$", " "))
    has_sign = _SIGN.search(plain) is not None
    if (has_sign and _VARIABLE_BESIDE.search(plain)) or _APPLIED.search(plain):
        return "algebra"
    return "arithmetic" if has_sign and _NUMBER_BESIDE.search(plain) else "text"


def _without_commands(text: str) -> str:
    """LaTeX commands as the operators, numbers and variables that they are, or as nothing; braces as brackets."""
    text = text.replace("\\(", " ").replace("\\)", " ").replace("\\[", " ").replace("\\]", " ")
    return _COMMAND.sub(lambda found: _COMMANDS.get(found[1], " "), text).replace("{", "(").replace("}", ")")


def _is_algebra_of_tex(text: str) -> bool:
    return bool(_LETTER_BESIDE.search(text) or _LETTER_APPLIED.search(text))

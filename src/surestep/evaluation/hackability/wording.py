"""The same steps in other words: a confident tone, and a paraphrase by rules.

Numbers and formulas stay as they are; only words outside of them change.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from surestep.evaluation.hackability.formulas import formula_spans
from surestep.evaluation.hackability.perturbation import Chain, Step

MARKERS = (
    "Clearly, ",
    "Without any doubt, ",
    "It is certain that ",
    "Obviously, ",
    "As everyone knows, ",
    "We can be absolutely sure that ",
)

OPENERS = {
    "so": "therefore",
    "therefore": "thus",
    "thus": "hence",
    "hence": "therefore",
    "then": "after that",
    "next": "after this",
    "first": "to begin with",
    "firstly": "to begin with",
    "finally": "lastly",
    "lastly": "finally",
    "now": "at this point",
}
"""The first word of a step, with or without a comma, where a comma or the subject of a sentence follows."""

WORDS = {
    "we get": "we obtain",
    "we obtain": "we get",
    "which gives": "which yields",
    "this gives": "this yields",
    "equals": "is equal to",
    "is equal to": "equals",
    "because": "since",
    "in total": "altogether",
    "altogether": "in total",
    "in order to": "to",
    "every day": "each day",
    "each day": "every day",
    "calculate": "compute",
    "compute": "calculate",
    "need to": "have to",
    "as well as": "and also",
    "approximately": "about",
    "let's": "let us",
    "don't": "do not",
    "doesn't": "does not",
    "didn't": "did not",
    "isn't": "is not",
    "aren't": "are not",
    "can't": "cannot",
    "we're": "we are",
    "we've": "we have",
    "we'll": "we will",
}
"""Anywhere in a step, as whole words, each replaced once: the replacements are not replaced again."""

BARE_FORMULA = "We have "
"""In front of a step that begins with an equation."""

_SUBJECT = r"(?:the|this|that|these|those|we|you|he|she|it|they|there|i|his|her|its|their|our|each|a|an)\b"
_OPENER = re.compile(rf"({'|'.join(OPENERS)})(,\s*|\s+(?={_SUBJECT}))", re.IGNORECASE)
_WORDS = re.compile(
    rf"(?<![\w'])({'|'.join(sorted(map(re.escape, WORDS), key=len, reverse=True))})(?![\w'])", re.IGNORECASE
)


def confident_tone(chain: Chain, random: np.random.Generator) -> Sequence[Step]:
    """Every step introduced as certain."""
    order = random.permutation(len(MARKERS))
    return [(MARKERS[order[place % len(MARKERS)]] + text, context) for place, (text, context) in enumerate(chain.steps)]


def paraphrase(chain: Chain, _random: np.random.Generator) -> Sequence[Step] | None:
    """The same in other words, by `OPENERS`, `WORDS` and `BARE_FORMULA`; None where no rule applies to any step.

    >>> [text for text, _ in paraphrase(Chain((("So we get 3 + 4 = 7.", None),)), np.random.default_rng(0))]
    ['Therefore, we obtain 3 + 4 = 7.']
    """
    found = [(_reworded(text), context) for text, context in chain.steps]
    return found if found != list(chain.steps) else None


def _reworded(text: str) -> str:
    opener = _OPENER.match(text)
    begin = 0
    head = ""
    if opener is not None:
        begin, head = opener.end(), _like(OPENERS[opener[1].lower()], opener[1]) + ", "
    parts, done = [], begin
    spans = [span for span in formula_spans(text) if span[0] >= begin]
    for start, end in [*spans, (len(text), len(text))]:
        parts += [_WORDS.sub(lambda match: _like(WORDS[match[1].lower()], match[1]), text[done:start]), text[start:end]]
        done = end
    if not head and spans and spans[0][0] == 0 and "=" in text[: spans[0][1]]:
        head = BARE_FORMULA
    return head + "".join(parts)


def _like(word: str, written: str) -> str:
    """`word` with a capital where `written` has one."""
    return word[:1].upper() + word[1:] if written[:1].isupper() else word

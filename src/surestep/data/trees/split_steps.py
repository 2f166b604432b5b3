"""A raw solution to its steps, by a rule that is named and can be forced, with nothing of the text lost.

Everything that makes steps of a raw text asks here. A line ends with `\\n`, `\\r\\n` or `\\r` and nowhere else: a form
feed or U+2028 stands within a step, and so does every line of fenced code and of a displayed formula. Knows text only.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from surestep.data.trees.text_regions import inside, whole_regions
from surestep.errors import InputError
from surestep.untrusted.bounds import shown

AUTO = "auto"
TAG = "tag:"
"""How a rule begins that splits at a given text, which may stand for no step itself: `tag:<extra_0>`."""

_KNOWN_TAG = re.compile(r"<extra_\d+>")
"""What tokenizers of T5 and Qwen keep for such use, and process reward models put behind a step."""

# Possessive quantifiers and lookbehinds keep each search linear, whatever the text.
_NEWLINE = r"(?:\r\n|\r(?!\n)|\n)"
_LINE_END = re.compile(_NEWLINE)
_BLANK_LINES = re.compile(rf"{_NEWLINE}[ \t]*+{_NEWLINE}")
_LINE_START = r"(?:\A|(?<=[\r\n]))(?P<indent>[ \t]*+)"
_STEP_MARK = re.compile(
    _LINE_START + r"[#>*_\- \t]*+step[ \t]*+(?P<number>\d{1,4})(?:[*_]{1,3})?[ \t]*+[:.)\u2013\u2014-]", re.IGNORECASE
)
_NUMBER_MARK = re.compile(_LINE_START + r"(?:\*\*)?(?P<number>\d{1,4})[.)](?:\*\*)?[ \t]++(?=\S)")
_SENTENCE_END = re.compile(
    "(?<![.!?])[.!?]++[\"'\u201d\u2019)\\]]*+(?=[ \\t\\r\\n])|[\u3002\uff01\uff1f]+[\u201d\u300d\u300f]?"
)
_NOT_AN_END = re.compile(
    r"(?:\b(?:e\.g|i\.e|cf|vs|etc|approx|resp|Dr|Mr|Mrs|Ms|Prof|St|Fig|Figs|Eq|Eqs|Thm|Sec|Ch)|"
    r"(?:\A|(?<=[\r\n]))[ \t]{0,6}\d{1,4})\.\Z"
)
"""A full stop behind which a sentence goes on: an abbreviation, the number of an item."""
_LONGEST_BEFORE = 12


@dataclass(frozen=True, slots=True)
class StepSplit:
    r"""The steps of a raw solution, and what stood around them.

    Attributes:
        steps: their texts, none of them blank, without white space around them.
        rule: the rule that split them; forcing it gives the same steps.
        separators: what stood before the first step, between each two, and behind the last: white space, and the tag of
            a tag rule. One more than steps.

    >>> split = split_steps("1. Add.\n2. Halve.\n")
    >>> split.steps, split.rule, split.joined()
    (('1. Add.', '2. Halve.'), 'numbered', '1. Add.\n2. Halve.\n')
    """

    steps: tuple[str, ...]
    rule: str
    separators: tuple[str, ...]

    def joined(self) -> str:
        """The text that was split, to the character."""
        inner = (part for pair in zip(self.steps, self.separators[1:], strict=True) for part in pair)
        return self.separators[0] + "".join(inner)


def split_steps(text: str, rule: str = AUTO) -> StepSplit:
    r"""The steps of a raw solution.

    | rule | a new step begins |
    |---|---|
    | `tag:TEXT` | behind each TEXT, which belongs to no step (`tag:<extra_0>`) |
    | `step` | at a line that begins with "Step 1:", "Step 2:" and so on, also as a heading or in bold |
    | `numbered` | at a line that begins with "1." or "1)", then "2.", each indented as the first |
    | `blank_lines` | behind a blank line |
    | `lines` | at each line |
    | `sentences` | behind a full stop, question mark or exclamation mark |

    `auto` takes the first of them that finds two steps or more (of tags: `<extra_0>` and its like), else `sentences`.
    What stands before the first "Step 1:" or "1." is a step of its own.

    Args:
        text: of any length; the time is proportional to it.
        rule: one of the above.

    Raises:
        InputError: `text` is no text, or there is no such rule.

    >>> split_steps("Add 2.\n\nSo $$x\n\n= 4$$").steps
    ('Add 2.', 'So $$x\n\n= 4$$')
    >>> split_steps("Add 2.<extra_0>So 4.<extra_0>").rule
    'tag:<extra_0>'
    """
    if not isinstance(text, str):
        raise InputError(f"'text' is of type {type(text).__name__}; allowed: text")
    check_rule(rule)
    if rule != AUTO:
        return _split(text, rule)
    found = _KNOWN_TAG.search(text)
    tag = [TAG + found[0]] if found else []
    split = None
    for name in (*tag, *RULES):
        split = _split(text, name)
        if len(split.steps) > 1 or name in tag:
            break
    assert split is not None
    return split


def check_rule(rule: object) -> str:
    """`rule`, where it is one.

    Raises:
        InputError: naming those there are.
    """
    if not isinstance(rule, str) or (rule not in (AUTO, *RULES) and not rule.removeprefix(TAG) != rule):
        raise InputError(
            f"the rule for splitting steps is {shown(rule)}; allowed: {', '.join((AUTO, *RULES))}, {TAG}TEXT"
        )
    if rule == TAG:
        raise InputError(f"the rule {TAG!r} names no tag; allowed: {TAG}<extra_0>, say")
    return rule


def pieces_at_tags(text: str, tag: str) -> list[str]:
    """What stands before, between and behind the tags, as written; one piece where there is no tag.

    >>> pieces_at_tags("one#two#", "#")
    ['one', 'two', '']
    """
    return text.split(tag)


def _split(text: str, rule: str) -> StepSplit:
    if rule.startswith(TAG):
        tag = rule.removeprefix(TAG)
        ends, spans = 0, []
        for piece in pieces_at_tags(text, tag):
            spans.append((ends, ends + len(piece)))
            ends += len(piece) + len(tag)
    else:
        starts = [0, *RULES[rule](text), len(text)]
        spans = list(itertools.pairwise(starts))
    return _of_spans(text, spans, rule)


def _of_spans(text: str, spans: list[tuple[int, int]], rule: str) -> StepSplit:
    """The steps in these stretches of the text; white space and blank stretches become separators."""
    steps: list[str] = []
    separators: list[str] = []
    end = 0
    for start, stop in spans:
        piece = text[start:stop]
        step = piece.strip()
        if not step:
            continue
        begin = start + len(piece) - len(piece.lstrip())
        separators.append(text[end:begin])
        steps.append(step)
        end = begin + len(step)
    return StepSplit(tuple(steps), rule, (*separators, text[end:]))


def _at_marks(pattern: re.Pattern[str]) -> Callable[[str], list[int]]:
    """Where a text's marks stand that count on from the first, 0 or 1, each indented as it is."""

    def starts(text: str) -> list[int]:
        protected = whole_regions(text)
        found: list[int] = []
        indent, expected = "", -1
        for mark in pattern.finditer(text):
            number = int(mark["number"])
            is_next = number == expected and mark["indent"] == indent if found else number in (0, 1)
            if is_next and not inside(protected, mark.start()):
                indent, expected = mark["indent"], number + 1
                found.append(mark.start())
        return found if len(found) > 1 else []

    return starts


def _behind(pattern: re.Pattern[str]) -> Callable[[str], list[int]]:
    def starts(text: str) -> list[int]:
        protected = whole_regions(text)
        return [match.end() for match in pattern.finditer(text) if not inside(protected, match.start())]

    return starts


def _behind_sentences(text: str) -> list[int]:
    return list(_sentence_ends(text))


def _sentence_ends(text: str) -> Iterator[int]:
    protected = whole_regions(text)
    for match in _SENTENCE_END.finditer(text):
        end = match.end()
        if inside(protected, match.start()):
            continue
        following = text[end : end + 64].lstrip(" \t\r\n")[:1]
        if following.islower() or _NOT_AN_END.search(text, max(0, end - _LONGEST_BEFORE), end):
            continue
        yield end


RULES: Mapping[str, Callable[[str], list[int]]] = {
    "step": _at_marks(_STEP_MARK),
    "numbered": _at_marks(_NUMBER_MARK),
    "blank_lines": _behind(_BLANK_LINES),
    "lines": _behind(_LINE_END),
    "sentences": _behind_sentences,
}
"""Name -> where steps begin, beside the start of the text, in the order in which `auto` tries them."""

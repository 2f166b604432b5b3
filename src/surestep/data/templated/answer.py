"""An answer to its steps: a leading thought is dropped, kept or refused, then the text is cut at declared separators.

Steps are cut by, in this order: the separator that was declared; a step tag of reward models that stands in the text;
the splitter of `surestep.data.trees.split_steps`. Knows one answer; where it begins and ends is `read`'s work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from surestep.data.trees.split_steps import split_steps
from surestep.errors import UnreadableAnswerError

Thinking = Literal["drop", "steps", "refuse"]
"""What becomes of a closed `<think>` block at the start of an answer: left out, read as steps, or an error."""

STEP_TAGS = ("<extra_0>",)
"""Tags that reward models are prompted with behind every step (Qwen2.5-Math-PRM's)."""

DROPPED_THOUGHT = "thought"
_OPEN, _CLOSE = "<think>", "</think>"


def split_answer(
    answer: str, *, separator: str | None = None, rule: str = "auto", thinking: Thinking = "drop"
) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    """The steps of an answer, the rule that cut them, and what was dropped.

    Args:
        answer: without an end-of-turn mark.
        separator: cuts the steps, where one is declared.
        rule: of `split_steps`, where neither a separator is declared nor a step tag found.
        thinking: see `Thinking`.

    Raises:
        UnreadableAnswerError: no step is left, or the thought has no end or does not stand in front.
    """
    thought, rest = split_thought(answer)
    parts = [rest]
    dropped: tuple[str, ...] = ()
    if thought.strip():
        if thinking == "refuse":
            raise UnreadableAnswerError("the answer has a <think> block and thinking is 'refuse'; allowed: drop, steps")
        if thinking == "steps":
            parts = [thought, rest]
        else:
            dropped = (DROPPED_THOUGHT,)
    cuts = [_cut(part, separator, rule) for part in parts if part.strip()]
    steps = tuple(step for found, _ in cuts for step in found)
    if not steps:
        raise UnreadableAnswerError("the answer holds no step: it is empty, or empty behind its <think> block")
    return steps, "+".join(dict.fromkeys(name for _, name in cuts)), dropped


def split_thought(answer: str) -> tuple[str, str]:
    """The content of a closed `<think>` block in front of an answer ("" where there is none), and what follows it.

    >>> split_thought("<think>hm</think>It is 2.")
    ('hm', 'It is 2.')

    Raises:
        UnreadableAnswerError: a block without its end or its beginning, several, or one inside the answer.
    """
    opened, closed = answer.count(_OPEN), answer.count(_CLOSE)
    if not opened and not closed:
        return "", answer
    if opened > closed:
        raise UnreadableAnswerError("the answer's <think> block has no end: where its steps begin cannot be known")
    text = answer.lstrip()
    if (opened, closed) != (1, 1) or not text.startswith(_OPEN):
        raise UnreadableAnswerError("the answer has </think> or <think> elsewhere than around one block in front of it")
    thought, _, rest = text.removeprefix(_OPEN).partition(_CLOSE)
    return thought, rest


def _cut(text: str, separator: str | None, rule: str) -> tuple[Sequence[str], str]:
    if separator is not None:
        return _between(text, separator), "separator"
    tags = [tag for tag in STEP_TAGS if tag in text]
    if tags:
        return _between(text, tags[0]), "step-tag"
    split = split_steps(text, rule=rule)
    return [step for step in map(str.strip, split.steps) if step], split.rule


def _between(text: str, separator: str) -> list[str]:
    return [step for step in map(str.strip, text.split(separator)) if step]

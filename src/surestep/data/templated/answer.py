"""An answer to its steps: a leading thought is dropped, kept or refused, the rest split by a rule of `split_steps`.

Knows one answer; where it begins and ends is `read`'s work.
"""

from __future__ import annotations

from typing import Literal

from surestep.data.trees.split_steps import AUTO, split_steps
from surestep.errors import UnreadableAnswerError

Thinking = Literal["drop", "steps", "refuse"]
"""What becomes of a closed `<think>` block at the start of an answer: left out, read as steps, or an error."""

DROPPED_THOUGHT = "thought"
_OPEN, _CLOSE = "<think>", "</think>"


def split_answer(
    answer: str, *, rule: str = AUTO, thinking: Thinking = "drop"
) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    """The steps of an answer, the rule that cut them, and what was dropped.

    Args:
        answer: without an end-of-turn mark.
        rule: of `split_steps`.
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
    splits = [split_steps(part, rule) for part in parts if part.strip()]
    steps = tuple(step for split in splits for step in split.steps)
    if not steps:
        raise UnreadableAnswerError("the answer holds no step: it is empty, or empty behind its <think> block")
    return steps, "+".join(dict.fromkeys(split.rule for split in splits)), dropped


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

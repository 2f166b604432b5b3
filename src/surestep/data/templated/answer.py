"""An answer to its steps: a leading thought is dropped, kept or refused, the rest split by a rule of `split_steps`.

Knows one answer; where it begins and ends is `read`'s work.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from surestep.data.trees.split_steps import AUTO, StepSplit, split_steps
from surestep.errors import UnreadableAnswerError
from surestep.untrusted import has_lone_surrogate

Thinking = Literal["drop", "steps", "refuse"]
"""What becomes of a closed `<think>` block at the start of an answer: left out, read as steps, or an error."""

DROPPED_THOUGHT = "thought"
_OPEN, _CLOSE = "<think>", "</think>"
_TOOL_CALL = "<tool_call>"


@dataclass(frozen=True, slots=True)
class SplitAnswer:
    """The steps of an answer; see `ReadSolution` for its attributes."""

    steps: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    rule: str
    dropped: tuple[str, ...]


def split_answer(answer: str, *, rule: str = AUTO, thinking: Thinking = "drop") -> SplitAnswer:
    """The steps of an answer, where each stands in it, the rule that split them, and what was dropped.

    Args:
        answer: without an end-of-turn mark.
        rule: of `split_steps`.
        thinking: see `Thinking`.

    Raises:
        UnreadableAnswerError: no step is left, it calls a tool, it holds half a character, or its thought has no end
            or is not in front.
    """
    if has_lone_surrogate(answer):
        raise UnreadableAnswerError("the answer holds half of a surrogate pair, which is no character")
    if _TOOL_CALL in answer:
        raise UnreadableAnswerError("the answer calls a tool (<tool_call>), which is not supported")
    thought, rest = split_thought(answer)
    starts = {len(answer) - len(rest): rest}
    dropped: tuple[str, ...] = ()
    if thought.strip():
        if thinking == "refuse":
            raise UnreadableAnswerError("the answer has a <think> block and thinking is 'refuse'; allowed: drop, steps")
        if thinking == "steps":
            starts = {answer.index(_OPEN) + len(_OPEN): thought} | starts
        else:
            dropped = (DROPPED_THOUGHT,)
    splits = {start: split_steps(part, rule) for start, part in starts.items() if part.strip()}
    steps = tuple(step for split in splits.values() for step in split.steps)
    if not steps:
        raise UnreadableAnswerError("the answer holds no step: it is empty, or empty behind its <think> block")
    spans = tuple(span for start, split in splits.items() for span in _spans(start, split))
    return SplitAnswer(steps, spans, "+".join(dict.fromkeys(split.rule for split in splits.values())), dropped)


def _spans(start: int, split: StepSplit) -> Iterator[tuple[int, int]]:
    """Where each step begins and ends, as indices of characters counted from `start` before the split text."""
    for step, before in zip(split.steps, split.separators[:-1], strict=True):
        start += len(before)
        yield start, start + len(step)
        start += len(step)


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

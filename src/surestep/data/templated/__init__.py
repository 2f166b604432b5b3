"""One text, or a list of messages, as a client of a reward model sends it, to the problem and the steps of its answer.

    chat_format   turns of ChatML, Llama 3, Gemma, or of a format that regular expressions declare
    answer        an answer to its steps: end of turn, thoughts, step separators
    read          what stands where in a request

Nothing is guessed: whatever leaves a doubt about where the problem ends is an `InputError` with the reason, an answer
without readable steps an `UnreadableAnswerError`. Knows texts only: no tokenizer, no wire format.
"""

from __future__ import annotations

from surestep.data.templated.answer import Thinking, split_answer
from surestep.data.templated.chat_format import CHAT_FORMATS, ChatFormat, chat_format, declared_format
from surestep.data.templated.read import Message, ReadSolution, SolutionReader

__all__ = [
    "CHAT_FORMATS",
    "ChatFormat",
    "Message",
    "ReadSolution",
    "SolutionReader",
    "Thinking",
    "chat_format",
    "declared_format",
    "split_answer",
]

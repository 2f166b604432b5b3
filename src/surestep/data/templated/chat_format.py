"""Chat formats: which marks open and close the turns of a conversation that was written as one text.

A text is cut at every mark, wherever it stands. A problem that quotes a mark therefore makes turns that no template
writes, and the text is refused: a quoted template never moves the border between problem and answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from surestep.errors import ConfigError, InputError

ROLES = ("system", "user", "assistant")
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn: who speaks, what, and whether its end is marked (the last turn of a prompt is open)."""

    role: str
    content: str
    closed: bool


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """The marks of one chat template; every field but `name` and `signs` is a regular expression.

    Attributes:
        name: shown in errors.
        signs: the format is in a text where one of these stands in it, as they are.
        openings: what opens a turn, by role.
        other_openings: what opens a turn of any other role, a tool call, or is damaged; such texts are refused.
        end: what ends a turn.
        before: all that may stand in front of the first turn.
        after: all that may follow the end of the last turn.
    """

    name: str
    signs: tuple[str, ...]
    openings: Mapping[str, str]
    end: str
    other_openings: str = r"(?!)"
    before: str = r"\s*"
    after: str = r"\s*"

    def is_in(self, text: str) -> bool:
        """Whether a mark of this format stands in `text`."""
        if self.signs:
            return any(sign in text for sign in self.signs)
        return self._marks().search(text) is not None

    def turns(self, text: str) -> list[Turn]:
        """The turns of `text`, in order.

        Raises:
            InputError: text outside turns, a turn within a turn, a role or tool call that is none of `ROLES`.
        """
        turns: list[Turn] = []
        role, start = "", 0
        for mark in self._marks().finditer(text):
            kind = mark.lastgroup or _UNKNOWN
            if kind == "end":
                if not role and turns:
                    break  # what follows the last turn is judged below
                if not role:
                    continue  # padding in front of the first turn
                turns.append(Turn(role, text[start : mark.start()], closed=True))
                role, start = "", mark.end()
                continue
            if kind == _UNKNOWN:
                raise self._error(f"{mark[0]!r} opens no turn of {', '.join(ROLES)} (tools are not supported)")
            if role:
                raise self._error(f"a turn of {kind} begins inside the turn of {role}")
            if not re.fullmatch(r"\s*" if turns else self.before, text[start : mark.start()]):
                raise self._error("text stands outside the turns")
            role, start = kind, mark.end()
        if role:
            turns.append(Turn(role, text[start:], closed=False))
        elif not re.fullmatch(self.after, text[start:]):
            raise self._error("text follows the end of the last turn")
        return turns

    def until_end(self, answer: str) -> str:
        """`answer` up to its end-of-turn mark, or all of it where it has none.

        Raises:
            InputError: another turn begins in it, or text follows its end.
        """
        mark = self._marks().search(answer)
        if mark is None:
            return answer
        if mark.lastgroup != "end":
            raise self._error("another turn begins inside the answer")
        if not re.fullmatch(self.after, answer[mark.end() :]):
            raise self._error("text follows the end of the answer")
        return answer[: mark.start()]

    def _marks(self) -> re.Pattern[str]:
        # The end first: a declared format may end a turn by looking ahead at what opens the next.
        parts = [f"(?P<end>{self.end})"]
        parts += [f"(?P<{role}>{pattern})" for role, pattern in self.openings.items()]
        parts += [f"(?P<{_UNKNOWN}>{self.other_openings})"]
        return re.compile("|".join(parts))

    def _error(self, reason: str) -> InputError:
        return InputError(
            f"the {self.name} text cannot be read: {reason}; send problem and steps as /v1/steps takes them"
        )


CHAT_FORMATS: Mapping[str, ChatFormat] = MappingProxyType(
    {
        "chatml": ChatFormat(
            "ChatML",
            ("<|im_start|>", "<|im_end|>"),
            {role: rf"<\|im_start\|>{role}\n" for role in ROLES},
            end=r"<\|im_end\|>|<\|endoftext\|>",
            other_openings=r"<\|im_start\|>|<tools>|<tool_call>|<tool_response>",
            before=r"(?:\s|<\|endoftext\|>)*",
            after=r"(?:\s|<\|endoftext\|>)*",
        ),
        "llama3": ChatFormat(
            "Llama 3",
            ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
            {role: rf"<\|start_header_id\|>{role}<\|end_header_id\|>\n\n" for role in ROLES},
            end=r"<\|eot_id\|>|<\|end_of_text\|>",
            other_openings=r"<\|start_header_id\|>|<\|end_header_id\|>|<\|python_tag\|>|<\|eom_id\|>",
            before=r"(?:\s|<\|begin_of_text\|>|<\|finetune_right_pad_id\|>|<\|end_of_text\|>|<\|eot_id\|>)*",
            after=r"(?:\s|<\|end_of_text\|>|<\|eot_id\|>|<\|finetune_right_pad_id\|>)*",
        ),
        "gemma": ChatFormat(
            "Gemma",
            ("<start_of_turn>", "<end_of_turn>"),
            {
                "system": r"<start_of_turn>(?:system|developer)\n",
                "user": r"<start_of_turn>user\n",
                "assistant": r"<start_of_turn>model\n",
            },
            end=r"<end_of_turn>|<eos>",
            other_openings=r"<start_of_turn>",
            before=r"(?:\s|<bos>|<pad>)*",
            after=r"(?:\s|<eos>|<pad>|<end_of_turn>)*",
        ),
    }
)
"""The formats that are known, by name. Gemma's template writes a system prompt into the user's turn: it is part of the
problem there, since nothing marks its end."""


def chat_format(name: str) -> ChatFormat:
    """A known format by its name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in CHAT_FORMATS:
        raise ConfigError(f"chat_format is {name!r}; allowed: {', '.join(CHAT_FORMATS)}, or regular expressions")
    return CHAT_FORMATS[name]


def declared_format(*, user: str, assistant: str, end: str, system: str | None = None) -> ChatFormat:
    """A format of one's own, from the regular expressions of its marks.

    Args:
        user: what opens the user's turn.
        assistant: what opens the assistant's turn.
        end: what ends a turn; one that is ended by the next turn's opening looks ahead at it, as in the example.
        system: what opens the system's turn, where there is one.

    Raises:
        ConfigError: one of them is no regular expression, or finds the empty text.

    >>> mine = declared_format(user="### Q: ", assistant="### A: ", end="\\n(?=###)|$")
    >>> [turn.content for turn in mine.turns("### Q: 1+1?\\n### A: It is 2.")]
    ['1+1?', 'It is 2.']
    """
    patterns = {"user": user, "assistant": assistant} | ({"system": system} if system else {})
    for field, pattern in (*patterns.items(), ("end", end)):
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise ConfigError(f"chat_format.{field} is {pattern!r}; allowed: a regular expression ({error})") from None
        if compiled.groupindex:
            raise ConfigError(f"chat_format.{field} is {pattern!r}; allowed: an expression without named groups")
        if field != "end" and compiled.match(""):
            raise ConfigError(f"chat_format.{field} is {pattern!r}; allowed: an expression that never finds nothing")
    return ChatFormat("declared", (), MappingProxyType(patterns), end)

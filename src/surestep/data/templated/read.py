"""Where problem and answer stand in what a client sends: messages, a prompt beside its answer, or one text.

The first of these that applies decides, and each has one way to be right:

    messages              [system] user assistant; earlier turns only where `history` says so
    a prompt, an answer   the prompt is templated up to the open turn of the assistant, or the problem alone
    one text              a chat format with one user turn and one assistant turn behind it, or a declared separator
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from surestep.data.templated.answer import Thinking, split_answer
from surestep.data.templated.chat_format import CHAT_FORMATS, ROLES, ChatFormat, Turn
from surestep.data.trees.split_steps import AUTO, check_rule
from surestep.errors import ConfigError, InputError, UnreadableAnswerError
from surestep.types import ReasoningTree, chain
from surestep.untrusted.bounds import shown

Message: TypeAlias = Mapping[str, Any]
DROPPED_SYSTEM = "system"
_MEND = "send problem and steps as /v1/steps takes them, or one user and one assistant message"


@dataclass(frozen=True, slots=True)
class ReadSolution:
    """A problem and the steps of an answer to it.

    Attributes:
        problem: its text, as it stood between its marks.
        steps: at least one, none blank.
        rule: the rule of `split_steps` that made the steps; two, joined by `+`, where a thought was split by another.
        dropped: what the client sent and the model does not see: `system`, `thought`.
        spans: where each step begins and ends in the answer, as indices of characters: in the text behind the prompt
            where a prompt came apart from it, else in the assistant's turn.
    """

    problem: str
    steps: tuple[str, ...]
    rule: str
    dropped: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]

    def tree(self) -> ReasoningTree:
        """The solution as a tree with one path."""
        return chain(self.problem, list(self.steps))


@dataclass(frozen=True, slots=True)
class SolutionReader:
    """Reads problem and steps by what was declared.

    Attributes:
        chat_format: the only format that is looked for; None looks for each known one and takes the one that is there.
        problem_separator: ends the problem in a text without a chat format; None refuses such a text.
        step_rule: how an answer is split: `auto`, or a rule of `surestep.split_steps` (`tag:TEXT` splits at a text).
        thinking: see `Thinking`.
        history: turns before the last user message: `refuse`, or `concat` puts them in front of the problem.
        plain_prompt: a prompt beside its answer without any chat format: it is the `problem`, or `refuse`.
    """

    chat_format: ChatFormat | None = None
    problem_separator: str | None = None
    step_rule: str = AUTO
    thinking: Thinking = "drop"
    history: Literal["refuse", "concat"] = "refuse"
    plain_prompt: Literal["problem", "refuse"] = "problem"

    def __post_init__(self) -> None:
        allowed = {"thinking": ("drop", "steps", "refuse"), "history": ("refuse", "concat")}
        allowed["plain_prompt"] = ("problem", "refuse")
        for field, values in allowed.items():
            if getattr(self, field) not in values:
                raise ConfigError(f"{field} is {getattr(self, field)!r}; allowed: {', '.join(values)}")
        if self.problem_separator == "":
            raise ConfigError("problem_separator is empty; allowed: a text, or none")
        try:
            check_rule(self.step_rule)
        except InputError as error:
            raise ConfigError(f"step_rule: {error}") from None

    def text(self, text: str) -> ReadSolution:
        """One templated text.

        >>> SolutionReader(problem_separator="\\nA: ", step_rule="lines").text("1+1?\\nA: one and one\\nso 2")
        ReadSolution(problem='1+1?', steps=('one and one', 'so 2'), rule='lines', dropped=(), spans=((0, 11), (12, 16)))
        """
        found = self._format_of(text)
        if found is not None:
            return self._of_turns(found.turns(text))
        if self.problem_separator is None:
            raise InputError(
                "the text is in no known chat format (ChatML, Llama 3, Gemma), so where its problem ends is unknown; "
                "declare chat_format or problem_separator, or send problem and steps as /v1/steps takes them"
            )
        if text.count(self.problem_separator) != 1:
            raise InputError(
                f"problem_separator {self.problem_separator!r} stands {text.count(self.problem_separator)} times in "
                "the text; allowed: once"
            )
        problem, _, answer = text.partition(self.problem_separator)
        return self._solution(problem, answer)

    def beside(self, prompt: str | Sequence[Message], answer: str) -> ReadSolution:
        """An answer and, apart from it, the prompt it was generated from: templated, messages, or the problem alone."""
        if not isinstance(prompt, str):
            return self.messages([*prompt, {"role": "assistant", "content": self._plain_answer(answer)}])
        found = self._format_of(prompt)
        if found is None:
            if self.plain_prompt == "refuse":
                raise InputError("the prompt is in no chat format and plain_prompt is 'refuse'; declare chat_format")
            return self._solution(prompt, self._plain_answer(answer))
        turns = found.turns(prompt)
        if not turns or turns[-1].role != "assistant" or turns[-1].closed:
            raise InputError(f"the {found.name} prompt does not end with the open turn of the assistant; {_MEND}")
        # A template may begin the answer itself ("<think>\n"): that is part of what is read.
        answer = turns[-1].content + _answer_end(found, answer)
        begun = len(turns[-1].content)
        return self._of_turns([*turns[:-1], Turn("assistant", answer, closed=True)], begun=begun)

    def query(self, query: str, prompt: str | Sequence[Message]) -> ReadSolution:
        """A prompt with its answer behind it in one text, and the same prompt apart."""
        if not isinstance(prompt, str):
            raise InputError(
                "the prompt of a query is a list of messages; allowed: the text that the query begins with"
            )
        if not query.startswith(prompt):
            raise InputError("the query does not begin with its prompt, so where the answer begins is unknown")
        return self.beside(prompt, query.removeprefix(prompt))

    def messages(self, messages: Sequence[Message]) -> ReadSolution:
        """A conversation: the last user message is the problem, the one assistant message behind it the answer.

        What cannot be read of that answer (no text, a call of a tool) is an `UnreadableAnswerError`.
        """
        turns = [_turn(number, message) for number, message in enumerate(messages[:-1])]
        if len(messages):
            try:
                turns.append(_turn(len(messages) - 1, messages[-1]))
            except InputError as error:
                is_answer = isinstance(messages[-1], Mapping) and messages[-1].get("role") == "assistant"
                is_behind_a_problem = bool(turns) and turns[-1].role == "user"
                raise UnreadableAnswerError(str(error)) if is_answer and is_behind_a_problem else error from None
        return self._of_turns(turns, self.history)

    def _format_of(self, text: str) -> ChatFormat | None:
        """The one format whose marks are in `text`; None where there is none and none is declared."""
        if self.chat_format is not None:
            if self.chat_format.is_in(text):
                return self.chat_format
            if self.problem_separator is None:
                raise InputError(f"chat_format is {self.chat_format.name} and the text has none of its marks; {_MEND}")
            return None
        found = [known for known in CHAT_FORMATS.values() if known.is_in(text)]
        if len(found) > 1:
            raise InputError(
                f"the text has marks of {' and '.join(known.name for known in found)}; declare chat_format"
            )
        return found[0] if found else None

    def _plain_answer(self, answer: str) -> str:
        """An answer to a prompt that is no templated text, up to the end-of-turn mark that a decoder may have left."""
        found = [known for known in _formats(self.chat_format) if known.is_in(answer)]
        if len(found) > 1:
            raise UnreadableAnswerError(f"the answer has marks of {' and '.join(known.name for known in found)}")
        return _answer_end(found[0], answer) if found else answer

    def _of_turns(self, turns: Sequence[Turn], history: str = "refuse", begun: int = 0) -> ReadSolution:
        dropped = tuple(
            dict.fromkeys(DROPPED_SYSTEM for turn in turns if turn.role == "system" and turn.content.strip())
        )
        spoken = [turn for turn in turns if turn.role != "system"]
        roles = [turn.role for turn in spoken]
        named = ", ".join(roles[:6]) + (f" and {len(roles) - 6} more" if len(roles) > 6 else "") or "none"
        if roles[-2:] != ["user", "assistant"]:
            raise InputError(f"the turns are {named}; allowed: user, then assistant; {_MEND}")
        if len(spoken) > 2 and history == "refuse":
            raise InputError(
                f"the turns are {named}; allowed: one user turn and one assistant turn behind it: earlier "
                "turns (a conversation, examples, a quoted template) leave open what the problem is"
            )
        if any(turn.role == "system" for turn in turns[1:]):
            raise InputError(f"a system turn stands behind another turn; {_MEND}")
        problem = "\n\n".join(turn.content for turn in spoken[:-1])
        return self._solution(problem, spoken[-1].content, dropped, begun)

    def _solution(self, problem: str, answer: str, dropped: tuple[str, ...] = (), begun: int = 0) -> ReadSolution:
        """Problem and answer, of which the prompt had `begun` characters already."""
        if not problem.strip():
            raise InputError("the problem is empty; allowed: text")
        split = split_answer(answer, rule=self.step_rule, thinking=self.thinking)
        spans = tuple((start - begun, end - begun) for start, end in split.spans)
        return ReadSolution(problem, split.steps, split.rule, dropped + split.dropped, spans)


def _formats(declared: ChatFormat | None) -> Sequence[ChatFormat]:
    return list(CHAT_FORMATS.values()) if declared is None else [declared]


def _answer_end(known: ChatFormat, answer: str) -> str:
    """`ChatFormat.until_end`, whose failures are the generated answer's here."""
    try:
        return known.until_end(answer)
    except InputError as error:
        raise UnreadableAnswerError(str(error)) from None


def _turn(number: int, message: Message) -> Turn:
    """One message as a turn.

    Raises:
        InputError: a tool call, a role, or a content that is none of what can be read.
    """
    place = f"message {number}"
    if not isinstance(message, Mapping):
        raise InputError(f"{place} is a {type(message).__name__}; allowed: an object with role and content")
    role = message.get("role")
    role = "system" if role == "developer" else role
    if role not in ROLES:
        raise InputError(f"{place} has role {shown(role)}; allowed: {', '.join(ROLES)} (tools are not supported)")
    if message.get("tool_calls") or message.get("function_call"):
        raise InputError(f"{place} calls tools, which are not supported; allowed: content")
    content = _text_of(place, message.get("content"))
    thought = message.get("reasoning_content") or message.get("reasoning") or ""
    if thought:
        if not isinstance(thought, str) or role != "assistant" or "<think>" in content:
            raise InputError(f"{place} has a thought that cannot be read; allowed: text, of the assistant, given once")
        content = f"<think>{thought}</think>{content}"
    return Turn(role, content, closed=True)


def _text_of(place: str, content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence) and len(content) == 1 and isinstance(content[0], Mapping):
        text = content[0].get("text")
        if content[0].get("type") in ("text", "input_text", "output_text") and isinstance(text, str):
            return text
    raise InputError(f"{place} has a content that cannot be read; allowed: text, or one part of type text")

"""The operator's flags for the protocols, and what they come to.

Each field is a flag of `surestep serve` and a row of docs/how-to/plug-in.md, which a test compares with this file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from surestep.data.templated import CHAT_FORMATS, ChatFormat, SolutionReader, Thinking, declared_format
from surestep.errors import ConfigError
from surestep.serving.protocols.settings import Decoder, ProtocolSettings
from surestep.settings import OneOf, Section

_ANY = "any"


class ProtocolConfig(Section):
    r"""How requests of other stacks are read and answered. In texts, `\n` is a line break and `\t` a tabulator."""

    chat_format: Annotated[str, OneOf(lambda: [_ANY, *CHAT_FORMATS])] = Field(
        _ANY, description="Chat format of texts: chatml, llama3, gemma; any: the one of them whose marks are there."
    )
    chat_format_user: str | None = Field(
        None,
        description="Regular expression of what opens the user's turn, for a format of your own; with the next two.",
    )
    chat_format_assistant: str | None = Field(
        None, description="Regular expression of what opens the assistant's turn."
    )
    chat_format_system: str | None = Field(
        None, description="Regular expression of what opens the system's turn, where that format has one."
    )
    chat_format_end: str | None = Field(None, description="Regular expression of what ends a turn.")
    problem_separator: str | None = Field(
        None,
        description="What stands once between problem and answer in a text without a chat format; unset: refuse it.",
    )
    step_rule: str | None = Field(
        None,
        description="How answers are split into steps: auto, or a rule of split_steps (tag:TEXT splits at a text); "
        "unset: as the checkpoint was trained, else auto.",
    )
    thinking: Thinking = Field(
        "drop", description="A closed <think> block in front of an answer: drop it, read it as steps, or refuse."
    )
    history: Literal["refuse", "concat"] = Field(
        "refuse",
        description="Messages before the last of the user: refuse, or concat puts them in front of the problem.",
    )
    plain_prompt: Literal["problem", "refuse"] = Field(
        "problem", description="A prompt beside its answer, in no chat format: it is the problem, or refuse."
    )
    reduction: Literal["min", "product", "mean", "last"] = Field(
        "min", description="Makes one reward of the confidences of a solution's steps."
    )
    served_model_name: Annotated[str, Field(min_length=1)] = Field(
        "surestep", description="Name of the model in answers."
    )
    only_served_model_name: bool = Field(False, description="Refuse requests that name another model (404).")
    two_classes: bool = Field(
        False, description="Answer [1 - confidence, confidence] where clients read classes; else [confidence]."
    )
    unreadable_reward: float | None = Field(
        None,
        description="Reward of a generated answer that cannot be read or is too long to score; unset: refuse it.",
    )
    token_ids_model: str | None = Field(
        None,
        description="Name of the model whose token ids are decoded, by the next flag's tokenizer; others are refused.",
    )
    token_ids_tokenizer: Path | None = Field(None, description="Folder or file of that tokenizer (tokenizer.json).")
    right_token_id: int | None = Field(
        None, description="Label token that means right in SGLang's /v1/score; unset: label tokens are refused."
    )
    max_solutions: Annotated[int, Field(ge=1)] = Field(256, description="Solutions of one request.")

    def settings(self, *, split_rule: str | None = None) -> ProtocolSettings:
        """What the flags come to.

        Args:
            split_rule: the rule of training, from the checkpoint (`Scorer.split_rule`).

        Raises:
            ConfigError: flags that do not go together, or a tokenizer that cannot be read.
        """
        reader = SolutionReader(
            chat_format=self._format(),
            problem_separator=None if self.problem_separator is None else _unescaped(self.problem_separator),
            step_rule=_unescaped(self.step_rule or split_rule or "auto"),
            thinking=self.thinking,
            history=self.history,
            plain_prompt=self.plain_prompt,
        )
        return ProtocolSettings(
            reader=reader,
            reduction=self.reduction,
            model_name=self.served_model_name,
            only_model_name=self.only_served_model_name,
            two_classes=self.two_classes,
            unreadable_reward=self.unreadable_reward,
            decoders=self._decoders(),
            right_token_id=self.right_token_id,
            max_solutions=self.max_solutions,
        )

    def _format(self) -> ChatFormat | None:
        user, assistant, end = self.chat_format_user, self.chat_format_assistant, self.chat_format_end
        if user is None and assistant is None and end is None:
            return CHAT_FORMATS.get(self.chat_format)
        if user is None or assistant is None or end is None or self.chat_format != _ANY:
            raise ConfigError(
                "a chat format of your own needs chat_format_user, chat_format_assistant and chat_format_end, and no "
                "chat_format beside them"
            )
        return declared_format(user=user, assistant=assistant, end=end, system=self.chat_format_system)

    def _decoders(self) -> Mapping[str, Decoder]:
        if self.token_ids_model is None and self.token_ids_tokenizer is None:
            return {}
        if self.token_ids_model is None or self.token_ids_tokenizer is None:
            raise ConfigError("token_ids_model and token_ids_tokenizer go together; give both, or none")
        return {self.token_ids_model: read_decoder(self.token_ids_tokenizer)}


def read_decoder(path: Path) -> Decoder:
    """What decodes the token ids of a policy, special tokens included.

    Raises:
        ConfigError: there is no tokenizer.json, or it cannot be read.
    """
    from tokenizers import Tokenizer

    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise ConfigError(f"token_ids_tokenizer: {file} cannot be read ({error}); allowed: a tokenizer.json") from None

    def decode(ids: Sequence[int]) -> str:
        # The library leaves out ids that it does not know.
        unknown = [number for number in ids if number < 0 or tokenizer.id_to_token(number) is None]
        if unknown:
            raise ValueError(f"{unknown[0]} is no token of {file.parent.name}")
        return str(tokenizer.decode(list(ids), skip_special_tokens=False))

    return decode


def _unescaped(text: str) -> str:
    return re.sub(r"\\([nt\\])", lambda match: {"n": "\n", "t": "\t", "\\": "\\"}[match[1]], text)

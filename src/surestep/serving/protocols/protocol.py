"""What a protocol is: the shapes of its requests, how each is read, and what is answered.

A shape is told by its path and by the keys of its body, so stacks that use one path in two ways (`/classify`,
`/rerank`) stand side by side. Knows no web framework and no model.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from surestep.data.templated import ReadSolution
from surestep.errors import InputError, UnreadableAnswerError
from surestep.metrics.benchmarks.aggregation import AGGREGATIONS
from surestep.serving.protocols.settings import ProtocolSettings
from surestep.untrusted.bounds import shown

Read = ReadSolution | UnreadableAnswerError
"""A solution, or why the generated answer holds none."""


class RequestBody(BaseModel):
    """A request of another stack: fields that mean nothing here are passed over, as those stacks do.

    Attributes:
        unsupported: fields that would change the numbers and that nothing here can follow; a value in one is refused.
    """

    model_config = ConfigDict(extra="allow", strict=True)
    unsupported: ClassVar[tuple[str, ...]] = ()
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """One solution after scoring.

    Attributes:
        solution: what was read; None where the answer was unreadable.
        confidences: of each step, in [0, 1]; empty where the answer was unreadable or a step was not scored.
        reward: the reduction of `confidences`, or the setting's `unreadable_reward`.
    """

    solution: ReadSolution | None
    confidences: tuple[float, ...]
    reward: float


class RequestReader:
    """Reads the solutions of one request; an unreadable answer becomes a value, any other doubt an error."""

    def __init__(self, settings: ProtocolSettings, model: str | None) -> None:
        self.settings = settings
        self._model = model

    def text(self, text: str) -> Read:
        """One templated text."""
        return self._read(lambda: self.settings.reader.text(text))

    def beside(self, prompt: str | Sequence[Mapping[str, Any]], answer: str) -> Read:
        """A prompt and its answer."""
        return self._read(lambda: self.settings.reader.beside(prompt, answer))

    def query(self, query: str, prompt: str) -> Read:
        """A prompt with its answer behind it, and the prompt."""
        return self._read(lambda: self.settings.reader.query(query, prompt))

    def messages(self, messages: Sequence[Mapping[str, Any]]) -> Read:
        """A conversation."""
        return self._read(lambda: self.settings.reader.messages(messages))

    def inputs(self, value: str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]) -> list[Read]:
        """vLLM's and SGLang's `input`: one text, several, the ids of one, the ids of several."""
        return [self.text(text) for text in self.texts(value)]

    def texts(self, value: str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]) -> list[str]:
        """The texts of such an input; ids are decoded with the tokenizer that was registered for the model."""
        if isinstance(value, str):
            return [value]
        one_of_ids = bool(value) and all(isinstance(part, int) for part in value)
        parts: Sequence[Any] = [value] if one_of_ids else value
        return [part if isinstance(part, str) else self._decode(part) for part in parts]

    def _decode(self, ids: Sequence[int]) -> str:
        decoder = self.settings.decoders.get(self._model or "")
        if decoder is None:
            raise InputError(
                f"the input is token ids and no tokenizer is registered for model {shown(self._model)}: another "
                "vocabulary decodes them to other text; send text, or register the tokenizer"
            )
        try:
            return decoder(ids)
        except Exception as error:  # what a tokenizer raises for an id beyond its vocabulary is its own affair
            raise InputError(f"the token ids cannot be decoded ({type(error).__name__}: {error})") from None

    def _read(self, read: Callable[[], ReadSolution]) -> Read:
        try:
            return read()
        except UnreadableAnswerError as error:
            return error


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer is made of.

    Attributes:
        scored: the solutions, in the order of the request.
        settings: of all protocols.
        num_tokens: of all texts that were scored; 0 where the server does not count.
    """

    scored: Sequence[Scored]
    settings: ProtocolSettings
    num_tokens: int = 0

    def classes(self, confidence: float) -> list[float]:
        """One confidence as the numbers that a client of a classifier reads, the confidence last."""
        return [1.0 - confidence, confidence] if self.settings.two_classes else [confidence]

    def head(self, prefix: str) -> dict[str, Any]:
        """`id`, `object`, `created` and `model` of vLLM's and OpenAI's answers."""
        return {
            "id": f"{prefix}-{uuid.uuid4().hex}",
            "object": "list",
            "created": int(time.time()),
            "model": self.settings.model_name,
        }

    def usage(self) -> dict[str, Any]:
        """`usage` of vLLM's and OpenAI's answers."""
        return {
            "prompt_tokens": self.num_tokens,
            "total_tokens": self.num_tokens,
            "completion_tokens": 0,
            "prompt_tokens_details": None,
        }

    def best_first(self) -> list[int]:
        """The solutions' indices by falling reward, equals in the order of the request."""
        return sorted(range(len(self.scored)), key=lambda index: -self.scored[index].reward)


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of request.

    Attributes:
        name: shown in the description of the server and in errors.
        paths: where it is sent.
        keys: alternatives of keys, all of which stand in the body of such a request and of no other on these paths.
        request: its fields.
        read: the solutions of a request.
        answer: the JSON of the answer.
        example: a request that is answered, for the description of the server.
        per_step: every step's confidence is answered, so an unreadable answer cannot be given a reward.
    """

    name: str
    paths: tuple[str, ...]
    keys: tuple[frozenset[str], ...]
    request: type[RequestBody]
    read: Callable[[Any, RequestReader], list[Read]]
    answer: Callable[[Any, Answer], Any]
    example: Mapping[str, Any]
    per_step: Callable[[Any], bool] = lambda request: False

    def fits(self, body: Mapping[str, Any]) -> bool:
        """Whether a body has the keys of this shape; a key with null is not there."""
        present = {key for key, value in body.items() if value is not None}
        return any(keys <= present for keys in self.keys)


@dataclass(frozen=True, slots=True)
class Protocol:
    """The requests of one stack.

    Attributes:
        name: of the stack.
        shapes: its requests.
        error: status, reason and field (where one is at fault) to the JSON of a refusal.
    """

    name: str
    shapes: tuple[Shape, ...]
    error: Callable[[int, str, str | None], Any] = lambda status, reason, field: {"detail": reason}


def scored(solution: Read, confidences: Sequence[float | None] | None, settings: ProtocolSettings) -> Scored:
    """A solution with the confidences of its steps, and its reward.

    Raises:
        UnreadableAnswerError: it cannot be read or was not scored to its end, and no reward is declared for that.
    """
    problem: UnreadableAnswerError | None = None
    if isinstance(solution, UnreadableAnswerError):
        problem, read = solution, None
    else:
        read = solution
        values = [value for value in confidences or () if value is not None]
        if values and len(values) == len(read.steps):
            reward = AGGREGATIONS[settings.reduction](np.array(values, dtype=np.float64))
            return Scored(read, tuple(values), reward)
        problem = UnreadableAnswerError(
            f"step {len(values) + 1} of {len(read.steps)} ends beyond the longest text that the model takes"
        )
    if settings.unreadable_reward is None:
        raise problem
    return Scored(None, (), settings.unreadable_reward)


def keys(*names: str) -> frozenset[str]:
    """The keys of one alternative of `Shape.keys`."""
    return frozenset(names)

"""The OpenAI protocol for text: the body of a request, what an answer says, and when to ask again.

`POST /v1/chat/completions` and `POST /v1/completions` as OpenAI documents them
(https://platform.openai.com/docs/api-reference), with what vLLM and SGLang add: `stop_reason` or `matched_stop` tells a
stop text from the model's own end, and `continue_final_message` lets a chat go on within an answer. Sends nothing.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import time
from typing import Any, Literal

from surestep.inference.generation.requests import Ask, Ending
from surestep.untrusted.bounds import shown

Api = Literal["chat", "completions"]
PATHS: Mapping[str, str] = {"chat": "/chat/completions", "completions": "/completions"}
ASKED_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
"""Statuses that may pass."""
PROBLEMS_FAULT = frozenset({400, 413, 422})
"""Statuses that say that this very request is refused."""
LONGEST_WAIT_S = 120.0
"""A server that asks for more patience is given up."""
_FIRST_WAIT_S = 0.25
_ANSWER_BYTES = 2**20
_TOKEN_BYTES = 256


@dataclass(frozen=True, slots=True)
class Choice:
    """One text of an answer."""

    text: str
    ending: Ending


@dataclass(frozen=True, slots=True)
class Answer:
    """What a good answer holds; `tokens` of all its choices, None where the server does not say."""

    choices: list[Choice]
    tokens: int | None


class MalformedError(ValueError):
    """An answer is cut, or lacks what it must hold."""


def body_of(
    api: Api, model: str, ask: Ask, prefix: str, *, seed: int, max_tokens: int, count: int, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """The JSON of a request for `count` continuations; of `extra`, a value of None takes a field away."""
    settings = ask.settings
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": max_tokens,
        "temperature": settings.temperature,
        "seed": seed,
        "n": count,
    }
    if settings.top_p < 1:
        body["top_p"] = settings.top_p
    if ask.stop is not None:
        body["stop"] = [ask.stop]
    if api == "completions":
        body["prompt"] = ask.prompt() + prefix
    else:
        body["messages"] = ask.messages()
        if prefix:
            body["messages"].append({"role": "assistant", "content": prefix})
            body |= {"continue_final_message": True, "add_generation_prompt": False}
    return {name: value for name, value in {**body, **extra}.items() if value is not None}


def most_bytes(max_tokens: int, count: int) -> int:
    """How large an answer may be."""
    return _ANSWER_BYTES + _TOKEN_BYTES * max_tokens * count


def read_answer(values: Any, api: Api, *, max_tokens: int, has_stop: bool) -> Answer:
    """What an answer says.

    Raises:
        MalformedError: it has no choices, or one without a text.
    """
    choices = values.get("choices") if isinstance(values, dict) else None
    if not isinstance(choices, list) or not choices:
        raise MalformedError(f"no 'choices' in {shown(values)}")
    usage = values.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    if isinstance(tokens, bool) or not isinstance(tokens, int) or not 0 <= tokens < 2**40:
        tokens = None
    if not all(isinstance(choice, dict) for choice in choices):
        raise MalformedError(f"a choice is no object in {shown(choices)}")
    if all(isinstance(choice.get("index"), int) for choice in choices):
        choices = sorted(choices, key=lambda choice: choice["index"])
    is_full = tokens is not None and tokens >= max_tokens * len(choices)
    return Answer([Choice(_text(choice, api), _ending(choice, is_full, has_stop)) for choice in choices], tokens)


def _text(choice: Mapping[str, Any], api: Api) -> str:
    holder = choice.get("message") if api == "chat" else choice
    text = holder.get("content" if api == "chat" else "text") if isinstance(holder, dict) else None
    if text is None and isinstance(holder, dict) and choice.get("finish_reason") in ("stop", "length"):
        text = ""  # some servers have null for nothing
    if not isinstance(text, str):
        raise MalformedError(f"a choice without a text: {shown(choice)}")
    return text.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be written


def _ending(choice: Mapping[str, Any], is_full: bool, has_stop: bool) -> Ending:
    reason = choice.get("finish_reason")
    if reason == "length" or (reason is None and is_full):
        return "length"
    if not has_stop:
        return "end"
    for name in ("stop_reason", "matched_stop"):
        if name in choice:
            return "stop" if isinstance(choice[name], str) else "end"
    return "end_or_stop"


def wait_before(attempt: int, retry_after: str | None) -> float | None:
    """Seconds until a request is sent again; None where the server asks for more than anybody waits.

    Args:
        attempt: how often it was sent already, from 0: each wait is about twice as long as the one before.
        retry_after: the server's header: seconds, or a date.

    >>> wait_before(0, "7"), wait_before(0, "100000"), 0 < wait_before(0, None) <= 0.25
    (7.0, None, True)
    """
    backoff: float = min(_FIRST_WAIT_S * 2.0 ** min(attempt, 20), 30.0) * random.uniform(0.5, 1.0)
    told = _seconds(retry_after)
    if told is None:
        return backoff
    return None if told > LONGEST_WAIT_S else max(told, backoff)


def _seconds(retry_after: str | None) -> float | None:
    if retry_after is None:
        return None
    try:
        return max(0.0, float(retry_after)) if math.isfinite(float(retry_after)) else None
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time())
    except (ValueError, TypeError, OverflowError):
        return None


def refusal(status: int, values: Any) -> str:
    """What a server says of a refusal, in a few words."""
    said = values.get("error", values.get("detail", values)) if isinstance(values, dict) else values
    if isinstance(said, dict):
        said = said.get("message", said)
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"{status} {phrase}".rstrip() + (f": {shown(said)}" if said else "")


def share_tokens(tokens: int | None, count: int) -> Sequence[int | None]:
    """Tokens of each of several texts that were counted together, as even as may be.

    >>> share_tokens(7, 3)
    [3, 2, 2]
    """
    if tokens is None:
        return [None] * count
    each, more = divmod(tokens, count)
    return [each + (i < more) for i in range(count)]

"""A real local server that speaks the OpenAI protocol, whose texts follow from what it is asked, with faults on demand;
and scorers whose best path is known."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from surestep.inference.generation.requests import seed_of
from surestep.inference.result import SolutionScores

LETTERS = "ABCD"
DEPTH = 3
"""Steps of each solution: each a letter, the last one with the answer."""


def step_text(before: str, seed: int) -> tuple[str, bool]:
    """The next step after the text `before`, and whether it is the last."""
    letters = [step[0] for step in before.split("\n\n") if step]
    letter = LETTERS[seed_of("step", before, seed) % len(LETTERS)]
    if len(letters) < DEPTH - 1:
        return f"{letter} is step {len(letters) + 1}.", False
    return f"{letter} ends it: \\boxed{{{''.join(letters)}{letter}}}", True


def solution_text(seed: int) -> str:
    """A whole solution."""
    text, is_last = "", False
    while not is_last:
        step, is_last = step_text(text, seed)
        text += step + ("" if is_last else "\n\n")
    return text


@dataclass
class OpenAIServer:
    """What the server does.

    Attributes:
        faults: taken one by one, each for one request: a status, (status, headers), "cut", "slow", "no choices", "no
            text", "null", "huge", "redirect".
        answers_n: whether `n` is heeded.
        says_usage, says_reason, says_finish: which fields it has.
        asked: the bodies of all requests, with their headers.
        refused: a text in a prompt that is refused with 400.
    """

    url: str = ""
    faults: list[Any] = field(default_factory=list)
    answers_n: bool = True
    says_usage: bool = True
    says_reason: bool = True
    says_finish: bool = True
    models: tuple[str, ...] = ("fake",)
    refused: str = "REFUSED"
    delay_s: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """To a good request."""
        count = body.get("n", 1) if self.answers_n else 1
        choices, tokens = [], 0
        for index in range(count):
            text, reason = self._text(path, body, body.get("seed", 0) + index)
            words = text.split(" ")
            is_cut = len(words) > body["max_tokens"]
            tokens += min(len(words), body["max_tokens"])
            choice: dict[str, Any] = {"index": index}
            if self.says_finish:
                choice["finish_reason"] = "length" if is_cut else "stop"
            if self.says_reason and "stop" in body:
                choice["stop_reason"] = None if is_cut else reason
            text = " ".join(words[: body["max_tokens"]])
            if path.endswith("/chat/completions"):
                choices.append({**choice, "message": {"role": "assistant", "content": text}})
            else:
                choices.append({**choice, "text": text})
        return {"choices": choices, **({"usage": {"completion_tokens": tokens}} if self.says_usage else {})}

    def _text(self, path: str, body: dict[str, Any], seed: int) -> tuple[str, str | None]:
        if path.endswith("/chat/completions"):
            last = body["messages"][-1]
            before = last["content"] if last["role"] == "assistant" else ""
            assert not before or body["continue_final_message"] is True
        else:
            before = body["prompt"].rpartition("PROMPT>")[2]
        if body.get("stop"):
            step, is_last = step_text(before, seed)
            return step, None if is_last else body["stop"][0]
        return solution_text(seed), None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return
        content = b""
        while True:
            message = await receive()
            content += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self._respond(scope, content, send)
        finally:
            self.at_once -= 1

    async def _respond(self, scope: Any, content: bytes, send: Any) -> None:
        self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        if scope["path"].endswith("/models"):
            await _send(send, 200, {"data": [{"id": name} for name in self.models]})
            return
        body = json.loads(content)
        self.asked.append(body)
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.refused in json.dumps(body):
            await _send(send, 400, {"error": {"message": "this prompt is too long"}})
            return
        good = self.answer(scope["path"], body)
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, int):
            await _send(send, fault, {"error": {"message": "no"}})
        elif isinstance(fault, tuple):
            await _send(send, fault[0], {"error": "later"}, fault[1])
        elif fault == "cut":
            await _send_bytes(send, 200, json.dumps(good).encode()[:-20])
        elif fault == "slow":
            await asyncio.sleep(0.3)
            await _send(send, 200, good)
        elif fault == "no choices":
            await _send(send, 200, {"choices": []})
        elif fault == "no text":
            await _send(send, 200, {"choices": [{"finish_reason": "tool_calls", "message": {"role": "assistant"}}]})
        elif fault == "null":
            await _send(send, 200, None)
        elif fault == "huge":
            await _send_bytes(send, 200, b" " * 2**22)
        elif fault == "redirect":
            await _send(send, 307, None, {"location": "http://127.0.0.1:1/"})
        else:
            await _send(send, 200, good)


async def _send(send: Any, status: int, values: Any, headers: dict[str, str] | None = None) -> None:
    await _send_bytes(send, status, json.dumps(values).encode(), headers)


async def _send_bytes(send: Any, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
    pairs = [(name.encode(), value.encode()) for name, value in {"x-by": "test", **(headers or {})}.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": content})


@contextmanager
def openai_server(**settings: Any) -> Iterator[OpenAIServer]:
    """The server, on a port of its own, in a thread."""
    app = OpenAIServer(**settings)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            thread.join(0.005)
        app.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        yield app
    finally:
        server.should_exit = True
        thread.join(10)


@dataclass
class FakeScorer:
    """Confidences of the letters of a path: `of` gives that of the last one.

    Attributes:
        of: from the letters so far.
        scored: how many steps were scored.
    """

    of: Callable[[str], float | None]
    scored: int = 0

    def path(self, steps: Sequence[str]) -> tuple[float | None, ...]:
        letters = "".join(step[0] for step in steps)
        self.scored += len(steps)
        return tuple(self.of(letters[: i + 1]) for i in range(len(letters)))

    def score_many(self, items: Iterable[tuple[str, Sequence[str]]]) -> Iterator[SolutionScores]:
        for _, steps in items:
            values = self.path(steps)
            yield SolutionScores(tuple(steps), values, values)


@dataclass
class FakeSessions(FakeScorer):
    """The same with sessions; `open` counts those that were not closed."""

    open: int = 0
    opened: int = 0

    def session(self, problem: str) -> FakeSession:
        return FakeSession(self, ())


class FakeSession:
    def __init__(self, scorer: FakeSessions, steps: tuple[str, ...]) -> None:
        self.scorer, self.steps = scorer, steps
        scorer.open += 1
        scorer.opened += 1

    def add(self, step: str) -> float | None:
        self.steps = (*self.steps, step)
        self.scorer.scored += 1
        return self.scorer.of("".join(one[0] for one in self.steps))

    def score_candidates(self, steps: Sequence[str]) -> list[float | None]:
        self.scorer.scored += len(steps)
        return [self.scorer.of("".join(one[0] for one in (*self.steps, step))) for step in steps]

    def fork(self) -> FakeSession:
        return FakeSession(self.scorer, self.steps)

    def close(self) -> None:
        self.scorer.open -= 1

"""A language model behind any server that speaks the OpenAI protocol: vLLM, SGLang, llama.cpp, TGI, OpenAI itself.

Requests are sent side by side, up to a limit, and again where a fault may pass; answers are bounded in size and time.
Knows HTTP, through httpx2; what is said in requests and answers is `completion_protocol`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from surestep.counted import counted
from surestep.errors import InputError, ServerError
from surestep.hub import http_host
from surestep.inference.generation.completion_protocol import (
    ASKED_AGAIN,
    LONGEST_WAIT_S,
    PATHS,
    PROBLEMS_FAULT,
    Answer,
    Api,
    MalformedError,
    body_of,
    most_bytes,
    read_answer,
    refusal,
    share_tokens,
    wait_before,
)
from surestep.inference.generation.requests import Ask, Continuation, Continued, RefusedError
from surestep.terminal_text import to_stderr
from surestep.untrusted import parse_json
from surestep.untrusted.bounds import shown


@dataclass
class OpenAIEndpoint:
    """An endpoint; `opened` connects.

    The same endpoint answers the same request alike where it heeds `seed`; how many requests run at once changes
    nothing that is asked.

    Attributes:
        url: `http://127.0.0.1:8000/v1`, say; `/v1` is added where no path is given.
        model: as the endpoint names it; None: the only one that it has.
        api: `chat`, or `completions`, which needs the chat template within the prompt.
        api_key: sent as a bearer token; never shown, never written.
        concurrency: requests on their way at once.
        per_request: continuations of one text that are asked for in one request (`n`), with the seed of the first and
            tokens counted together; 1 gives each its own seed.
        timeout_s: until an answer is there, from its first byte to its last.
        retries: how often a request is sent again.
        extra: more fields of each request, over those that are sent anyway; None takes one away.
        say: is told, in a line, what a user should know.
        sleep: waits between retries.
    """

    url: str
    model: str | None = None
    api: Api = "chat"
    api_key: str | None = field(default=None, repr=False)
    concurrency: int = 16
    per_request: int = 1
    timeout_s: float = 600.0
    retries: int = 8
    extra: Mapping[str, Any] = field(default_factory=dict)
    say: Callable[[str], None] = to_stderr
    sleep: Callable[[float], Any] = asyncio.sleep
    _told: set[str] = field(default_factory=set, repr=False)

    def __post_init__(self) -> None:
        if not http_host(self.url):
            raise InputError(
                f"the endpoint is {shown(self.url)}; allowed: http://... or https://..., a port up to 65535"
            )
        address = httpx2.URL(self.url)
        if address.username or address.password or address.query:
            raise InputError("the endpoint's address holds a password or a query; give the key by the environment")
        if self.api not in PATHS:
            raise InputError(f"the api is {shown(self.api)}; allowed: {', '.join(PATHS)}")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise InputError("the API key holds letters that no header can; is it the right one?")
        for name in ("concurrency", "per_request", "timeout_s"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}; allowed: above 0")
        self.url = self.url.rstrip("/") + ("/v1" if address.path in ("", "/") else "")

    def about(self) -> dict[str, Any]:
        """What decides its texts."""
        return {
            "endpoint": self.url,
            "model": self.model,
            "api": self.api,
            "per_request": self.per_request,
            "extra": dict(self.extra),
        }

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[EndpointConnection]:
        """Connections, and the model's name where none was given.

        Raises:
            ServerError: the endpoint cannot be asked, or has several models.
        """
        # Unpacked by nobody: what a small answer unpacks to has no bound.
        headers = {"Accept-Encoding": "identity", "User-Agent": "surestep"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        limits = httpx2.Limits(max_connections=self.concurrency)
        async with httpx2.AsyncClient(headers=headers, timeout=self.timeout_s, limits=limits) as client:
            connection = EndpointConnection(self, client)
            if self.model is None:
                self.model = await connection.only_model()
                self.tell(f"the endpoint's model: {self.model}")
            yield connection

    def tell(self, line: str) -> None:
        """Say a line, once."""
        if line not in self._told:
            self._told.add(line)
            self.say(line)


class EndpointConnection:
    """An endpoint within a running event loop."""

    def __init__(self, endpoint: OpenAIEndpoint, client: httpx2.AsyncClient) -> None:
        self._endpoint = endpoint
        self._client = client
        self._free = asyncio.Semaphore(endpoint.concurrency)

    async def go_on(
        self, ask: Ask, continuations: Sequence[Continuation], deadline: float | None
    ) -> list[Continued | None]:
        """See `OpenGenerator`."""
        done: list[Continued | None] = [None] * len(continuations)
        if not continuations:
            return done
        tasks = [
            asyncio.create_task(self._group(ask, continuations, places, done))
            for places in _groups(continuations, self._endpoint.per_request)
        ]
        try:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            finished, _ = await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_EXCEPTION)
            for task in finished:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return done

    async def _group(
        self, ask: Ask, continuations: Sequence[Continuation], places: Sequence[int], done: list[Continued | None]
    ) -> None:
        """Ask for alike continuations together; for those that do not come, one by one."""
        begun = time.monotonic()
        answer = await self._ask(ask, continuations[places[0]], len(places))
        if answer.tokens is None:
            self._endpoint.tell(
                "the endpoint does not say how many tokens it generates ('usage'): a budget counts as many as were "
                "allowed"
            )
        choices = answer.choices[: len(places)]
        tokens = share_tokens(answer.tokens, len(choices))
        for place, choice, count in zip(places[: len(choices)], choices, tokens, strict=True):
            done[place] = Continued(choice.text, count, choice.ending, time.monotonic() - begun)
        if missing := places[len(choices) :]:
            self._endpoint.tell("the endpoint ignores 'n': each solution is asked for by itself")
            await asyncio.gather(*(self._group(ask, continuations, [place], done) for place in missing))

    async def _ask(self, ask: Ask, first: Continuation, count: int) -> Answer:
        endpoint = self._endpoint
        assert endpoint.model is not None
        body = body_of(
            endpoint.api,
            endpoint.model,
            ask,
            first.prefix,
            seed=first.seed,
            max_tokens=first.max_tokens,
            count=count,
            extra=endpoint.extra,
        )
        limit = most_bytes(first.max_tokens, count)

        def read(values: Any) -> Answer:
            return read_answer(values, endpoint.api, max_tokens=first.max_tokens, has_stop=ask.stop is not None)

        async with self._free:
            answer = await self._send("POST", PATHS[endpoint.api], body, limit, read)
        assert isinstance(answer, Answer)
        return answer

    async def only_model(self) -> str:
        """The endpoint's model, where it has one."""

        def read(values: Any) -> list[str]:
            try:
                return [str(model["id"]) for model in values["data"]]
            except (KeyError, TypeError):
                raise MalformedError(f"no list of models in {shown(values)}") from None

        names = await self._send("GET", "/models", None, 2**22, read)
        if len(names) != 1:
            raise InputError(f"the endpoint has {len(names)} models ({shown(', '.join(names))}); name one with --model")
        return str(names[0])

    async def _send(self, method: str, path: str, body: Any, limit: int, read: Callable[[Any], Any]) -> Any:
        """What `read` makes of the first good answer."""
        endpoint, attempt = self._endpoint, 0
        while True:
            retry_after: str | None = None
            try:
                async with asyncio.timeout(endpoint.timeout_s):
                    status, headers, content = await self._exchange(method, path, body, limit)
                if status == 200:
                    return read(_json(content))
                reason = f"answered {refusal(status, _json_or_text(content))}"
                if status in PROBLEMS_FAULT:
                    raise RefusedError(f"the endpoint {endpoint.url} {reason}")
                if status not in ASKED_AGAIN:
                    hint = (
                        "; is the API key right?" if status in (401, 403) else "; is the address right, and the model?"
                    )
                    raise ServerError(f"the endpoint {endpoint.url} {reason}{hint}")
                retry_after = headers.get("retry-after")
            except MalformedError as error:
                reason = f"answered something else ({error}); does it speak the OpenAI protocol?"
            except (TimeoutError, httpx2.TimeoutException):
                reason = f"did not answer within {endpoint.timeout_s:g} s"
            except httpx2.HTTPError as error:
                reason = f"cannot be reached ({' '.join(str(error).split())[:200] or type(error).__name__})"
            wait = wait_before(attempt, retry_after)
            if wait is None:
                raise ServerError(
                    f"the endpoint {endpoint.url} asks to wait for {shown(retry_after)}, more than {LONGEST_WAIT_S:g} s"
                )
            if attempt >= endpoint.retries:
                raise ServerError(f"the endpoint {endpoint.url} {reason}, {attempt + 1} times in a row")
            await endpoint.sleep(wait)
            attempt += 1

    async def _exchange(self, method: str, path: str, body: Any, limit: int) -> tuple[int, httpx2.Headers, bytes]:
        async with self._client.stream(method, self._endpoint.url + path, json=body) as response:
            packed = response.headers.get("content-encoding", "identity").strip().lower()
            if packed not in ("", "identity"):
                raise ServerError(f"the endpoint {self._endpoint.url} packs its answers ({shown(packed)}), unasked")
            content = bytearray()
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > limit:
                    raise ServerError(
                        f"the endpoint {self._endpoint.url} answers with more than {counted(limit, 'byte')}, which "
                        "so many tokens cannot be"
                    )
            return response.status_code, response.headers, bytes(content)


def _groups(continuations: Sequence[Continuation], most: int) -> list[list[int]]:
    """Places of continuations that differ in their seeds alone and stand side by side, at most so many together."""
    groups: list[list[int]] = []
    for place, one in enumerate(continuations):
        last = continuations[groups[-1][0]] if groups else None
        is_alike = last is not None and (last.prefix, last.max_tokens) == (one.prefix, one.max_tokens)
        if is_alike and len(groups[-1]) < most:
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups


def _json(content: bytes) -> Any:
    try:
        return parse_json(content.decode(), allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"no JSON: {' '.join(str(error).split())[:100]}") from None


def _json_or_text(content: bytes) -> Any:
    try:
        return _json(content)
    except MalformedError:
        return content[:400].decode(errors="replace")

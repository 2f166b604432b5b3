"""Whoever may not in is told so before a byte of the body is read: key, size, room in the queue.

Pure ASGI, around the application. It also reads the body, in bounded size and time, and cancels a request whose client
has gone.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from surestep.serving.api_keys import ApiKeys, is_loopback
from surestep.serving.http.context import CURRENT, InFlight, RequestContext
from surestep.serving.http.failures import Failure, failure_of
from surestep.serving.settings import ServeConfig
from surestep.serving.speed import BusyError, Room

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

DEADLINE_HEADER = "X-Surestep-Deadline"
OPEN_PATHS = frozenset({"/health", "/ready", "/openapi.json"})
"""What needs no key: it says nothing of anyone."""
_DISCARDED_BYTES = 64_000_000
_DISCARDED_S = 1.0
"""After a refusal, so much of the body is read and thrown away, for many clients read no answer while they send."""


class ClientGoneError(Exception):
    """The client closed the connection before it had an answer."""


class Admission:
    """Lets requests in, or answers them itself.

    Args:
        app: what answers.
        settings: limits.
        keys: who is let in.
        room: what the queue may still take.
        in_flight: told of each request whose body is read, until it is answered.
        is_closed: whether the server takes nothing new.
        loopback_names_only: whether requests to any other name than loopback's are refused: a page of a web site whose
            name was made to point here could else read what a server without keys answers.
        open_paths: `GET` of these, and of what lies below those that end with `/`, needs no key.
    """

    def __init__(
        self,
        app: App,
        *,
        settings: ServeConfig,
        keys: ApiKeys,
        room: Room,
        in_flight: InFlight,
        is_closed: Callable[[], bool],
        loopback_names_only: bool = False,
        open_paths: Collection[str] = (),
    ) -> None:
        self._app = app
        self._settings = settings
        self._keys = keys
        self._room = room
        self._in_flight = in_flight
        self._is_closed = is_closed
        self._loopback_names_only = loopback_names_only
        self._open = OPEN_PATHS | frozenset(path for path in open_paths if path == "/" or not path.endswith("/"))
        self._open_below = tuple(path for path in open_paths if path != "/" and path.endswith("/"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection's request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = CURRENT.get()
        try:
            if self._loopback_names_only and not is_loopback(_host(scope)):
                raise Failure(400, "without API keys this server answers to 127.0.0.1 and localhost only")
            if self._is_open(scope):
                await self._app(scope, receive, send)
                return
            context.caller = self._keys.caller(scope["headers"])
            if context.caller is None:
                raise Failure(
                    401,
                    "an API key is needed: send it as `Authorization: Bearer KEY`",
                    {"WWW-Authenticate": "Bearer"},
                )
            headers = dict(scope["headers"])
            context.deadline = context.started + _deadline_s(headers, self._settings.deadline_s)
            # What takes a body is work for the model; everything else is answered at once, also by a full server.
            if scope["method"] != "POST":
                await self._app(scope, receive, send)
                return
            if self._is_closed():
                raise Failure(503, "the server stops; send the request to another", {"Retry-After": "1"})
            length = _content_length(headers)
            if length is not None and length > self._settings.max_body_bytes:
                raise self._too_long()
            context.reservation = self._room.reserve(context.caller.name, length or 0)
        except (Failure, BusyError) as error:
            await _refuse(error, receive, send)
            return
        try:
            await self._answer(context, scope, receive, send)
        finally:
            context.reservation.release()

    def _is_open(self, scope: Scope) -> bool:
        path = scope["path"]
        return scope["method"] in {"GET", "HEAD"} and (path in self._open or path.startswith(self._open_below or "\0"))

    async def _answer(self, context: RequestContext, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._settings.body_timeout_s):
                body = await self._body(context, receive)
        except TimeoutError:
            seconds = f"{self._settings.body_timeout_s:g}"
            await _refuse(Failure(408, f"the body did not arrive within {seconds} s"), receive, send, discard=False)
            return
        except (Failure, BusyError) as error:
            await _refuse(error, receive, send)
            return
        with self._in_flight.one():
            await self._answer_unless_gone(body, scope, receive, send)

    async def _answer_unless_gone(self, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.Event()
        watch = asyncio.create_task(_wait_for_disconnect(receive, gone))

        async def answer() -> None:
            await self._app(scope, _replay(body, gone), send)

        work = asyncio.create_task(answer())
        try:
            await asyncio.wait({watch, work}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
                raise ClientGoneError
            work.result()
        finally:
            watch.cancel()
            work.cancel()

    async def _body(self, context: RequestContext, receive: Receive) -> bytes:
        assert context.reservation is not None
        chunks: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size > self._settings.max_body_bytes:
                raise self._too_long()
            context.reservation.expect_bytes(size)
            chunks.append(chunk)
            more = message.get("more_body", False)
        return b"".join(chunks)

    def _too_long(self) -> Failure:
        return Failure(413, f"the body has more than {self._settings.max_body_mb:g} MB, the most that is allowed")


def _host(scope: Scope) -> str:
    """The name or address that the client used, without the port."""
    host: str = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
    return host if host.endswith("]") else host.rpartition(":")[0] or host


def _deadline_s(headers: dict[bytes, bytes], most: float) -> float:
    text = headers.get(DEADLINE_HEADER.lower().encode())
    if text is None:
        return most
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise Failure(400, f"the header {DEADLINE_HEADER} must be a number of seconds above 0")
    return min(seconds, most)


def _content_length(headers: dict[bytes, bytes]) -> int | None:
    text = headers.get(b"content-length", b"")
    if not text:
        return None
    if not text.isdigit() or len(text) > 15:
        raise Failure(400, "the header Content-Length must be a whole number")
    return int(text)


async def _wait_for_disconnect(receive: Receive, gone: asyncio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()


def _replay(body: bytes, gone: asyncio.Event) -> Receive:
    """A `receive` that gives the whole body, and then waits for the client to go."""
    is_read = False

    async def receive() -> Message:
        nonlocal is_read
        if not is_read:
            is_read = True
            return {"type": "http.request", "body": body, "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    return receive


async def _refuse(error: Failure | BusyError, receive: Receive, send: Send, *, discard: bool = True) -> None:
    failure = failure_of(error)
    assert failure is not None
    body = failure.body()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **(failure.headers or {})}
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": failure.status_code, "headers": encoded})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    if discard:
        await _discard(receive)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _discard(receive: Receive) -> None:
    size = 0
    try:
        async with asyncio.timeout(_DISCARDED_S):
            while size < _DISCARDED_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return

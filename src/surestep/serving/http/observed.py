"""Around everything: gives each request its context, a line and its metrics, and answers what nobody caught."""

from __future__ import annotations

import asyncio
from typing import Any

from surestep.serving.admission import App, ClientGoneError, Message, Receive, Scope, Send
from surestep.serving.http.context import CURRENT, RequestContext
from surestep.serving.http.event_log import EventLog
from surestep.serving.http.failures import Failure
from surestep.serving.http.metrics import Metrics

_CLIENT_GONE = 499
"""Status in log and metrics where the client closed the connection before it had an answer (nginx' number)."""
_QUIET = frozenset({"/health", "/ready", "/metrics"})
"""Asked every few seconds by machines: at level debug."""


class Observed:
    """Outermost.

    Args:
        app: what answers.
        log: gets a line for each request.
        metrics: counts it.
        deadline_s: what a request has unless it says less.
    """

    def __init__(self, app: App, *, log: EventLog, metrics: Metrics, deadline_s: float) -> None:
        self._app = app
        self._log = log
        self._metrics = metrics
        self._deadline_s = deadline_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            # GET without the body (RFC 9110, 9.3.2), which uvicorn leaves out; a copy, for it looks at its own.
            scope = {**scope, "method": "GET"}
        loop = asyncio.get_running_loop()
        started = loop.time()
        context = RequestContext(started, started + self._deadline_s)
        token = CURRENT.set(context)
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", context.id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientGoneError:
            status = _CLIENT_GONE
        except Exception as error:
            self._log.error("request_failed", error, request=context.id)
            if not status:
                failure = Failure(500, "an error of the server; its log has the cause under X-Request-Id")
                await failure.response()(scope, receive, watched)
        finally:
            CURRENT.reset(token)
            self._tell(scope, context, status or _CLIENT_GONE, loop.time() - started)

    def _tell(self, scope: Scope, context: RequestContext, status: int, seconds: float) -> None:
        route = route_of(scope)
        self._metrics.answered(route, status, seconds)
        values: dict[str, Any] = {
            "request": context.id,
            "key": context.caller.name if context.caller else None,
            "method": scope["method"] if scope["method"] in _METHODS else "other",
            "route": route,
            "status": status,
            "ms": round(seconds * 1000, 1),
            "tokens": context.num_tokens,
            "steps": context.num_steps,
        }
        self._log.event("debug" if route in _QUIET and status < 400 else "info", "request", **values)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def route_of(scope: Scope) -> str:
    """The address as the program writes it, `/v1/sessions/{id}`; what a client made up is `other`."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else "other"

"""Bodies read as `surestep.untrusted` reads everything: no NaN, no key twice, nothing nested without end."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from surestep.serving.http.failures import Failure
from surestep.untrusted import parse_json
from surestep.untrusted.json_text import fault_of

_LARGE = 32_768
"""Bytes from which a body is parsed in the encoder thread: below, the loop is held for less than a millisecond."""


class _StrictRequest(Request):
    async def json(self) -> Any:
        """The body's value.

        Raises:
            Failure: 400, with what is wrong.
        """
        body = await self.body()
        if len(body) < _LARGE:
            return _parsed(body)
        return await self.app.state.threads.encode(_parsed, body)


class StrictJsonRoute(APIRoute):
    """A route whose body is strict JSON; `create_app` asks that every route with a body is one."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What FastAPI calls."""
        handler = super().get_route_handler()
        takes_body = self.body_field is not None

        async def handle(request: Request) -> Response:
            if takes_body and not _is_json(request.headers.get("content-type", "")):
                raise Failure(400, "the body must be JSON, with the header Content-Type: application/json")
            return await handler(_StrictRequest(request.scope, request.receive))

        return handle


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def _parsed(body: bytes) -> Any:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Failure(400, f"the body is not UTF-8 (byte {error.start + 1})") from None
    try:
        return parse_json(text, allow_nan=False, unique_keys=True)
    except json.JSONDecodeError as error:
        raise Failure(
            400, f"the body is not JSON: {fault_of(error)}, line {error.lineno}, column {error.colno}"
        ) from None
    except ValueError as error:
        raise Failure(400, f"the body cannot be read: {error}") from None

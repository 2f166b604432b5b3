"""Every error in one shape, `{"error": {"type": ..., "message": ...}}`, with the status that HTTP has for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from surestep.errors import InputError, SurestepError
from surestep.serving.batcher import DrainingError, PassFailedError, TooLargeError, TooLateError
from surestep.serving.session_store import NoSessionError, TooManySessionsError
from surestep.serving.speed import BusyError
from surestep.untrusted.schema import first_mistake

TYPES = {
    400: "bad_request",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    409: "conflict",
    413: "too_large",
    422: "invalid_request",
    429: "too_many_requests",
    500: "internal_error",
    503: "unavailable",
    504: "deadline_exceeded",
}
"""Status to the error's type."""

_RETRY = {"Retry-After": "1"}


class ErrorDetail(BaseModel):
    """What went wrong."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"type": "invalid_request", "message": "steps is missing"}]}
    )

    type: str
    message: str


class ErrorAnswer(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetail


class Failure(HTTPException):
    """An answer that is an error; `headers` go with it."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, message, headers)

    def body(self) -> bytes:
        """The JSON; ASCII, for a message may quote letters that are none."""
        kind = TYPES.get(self.status_code, "error")
        return json.dumps({"error": {"type": kind, "message": self.detail}}).encode()

    def response(self) -> Response:
        """For a route."""
        return Response(self.body(), self.status_code, self.headers, media_type="application/json")


def failure_of(error: Exception) -> Failure | None:
    """The answer to what the queue, the sessions and the model raise; None: a bug of ours."""
    match error:
        case Failure():
            return error
        case BusyError():
            return Failure(429, str(error), {"Retry-After": str(error.retry_after_s)})
        case TooManySessionsError():
            return Failure(429, str(error), _RETRY)
        case TooLateError():
            return Failure(504, str(error))
        case TooLargeError():
            return Failure(413, str(error))
        case DrainingError():
            return Failure(503, "the server stops; send the request to another", _RETRY)
        case NoSessionError():
            return Failure(404, str(error))
        case InputError():
            return Failure(422, str(error))
        case PassFailedError() | SurestepError():
            return Failure(500, "the model failed on this request; the server's log has the cause under X-Request-Id")
        case HTTPException():
            return Failure(error.status_code, _WORDS.get(error.status_code, str(error.detail)), error.headers)
    return None


_WORDS = {
    404: "there is nothing at this address; /openapi.json lists what there is",
    405: "this address does not take this method; the header Allow names those that it takes",
}

EXPECTED = (
    BusyError,
    DrainingError,
    HTTPException,
    NoSessionError,
    PassFailedError,
    SurestepError,
    TooLargeError,
    TooLateError,
    TooManySessionsError,
)
"""What `failure_of` knows."""


def add_failure_handlers(app: FastAPI) -> None:
    """Answer every expected error of a route in the one shape."""

    async def expected(request: Request, error: Exception) -> Response:
        failure = failure_of(error)
        assert failure is not None
        if failure.status_code == 405:
            failure.headers = {"Allow": ", ".join(_methods_at(request))}
        return failure.response()

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return Failure(422, first_mistake(_without_place(error))).response()

    for kind in EXPECTED:
        app.add_exception_handler(kind, expected)
    app.add_exception_handler(RequestValidationError, invalid)


def _methods_at(request: Request) -> list[str]:
    """Every method of an address; Starlette itself names those of the first route that fits."""
    path = request.url.path
    fitting = [
        route
        for route in (*request.app.routes, *request.app.state.routes)
        if isinstance(route, Route) and route.path_regex.match(path)
    ]
    return sorted({method for route in fitting for method in route.methods or ()})


def _without_place(error: RequestValidationError) -> list[dict[str, Any]]:
    """Details whose field is named as in the body: all of them lie in it, so that need not be said."""
    return [
        detail | {"loc": detail["loc"][1:] if len(detail["loc"]) > 1 else ("the body",)} for detail in error.errors()
    ]


def error_answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the description of a route: which errors it answers with."""
    return {status: {"model": ErrorAnswer, "description": TYPES[status].replace("_", " ")} for status in statuses}

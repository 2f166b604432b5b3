"""The page at `/` before a small made-up scorer, on a real port, for tests in a browser."""

from __future__ import annotations

import math
import re
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from surestep.serving.page.router import page_router

CONFIDENCE = re.compile(r"\[(0?\.\d+|0|1|none)\]")
KEY = "right-key"


def confidence_of(step: str) -> float | None:
    """What a step asks for: `[0.3]`, `[none]` where the model does not read so far, else 0.9.

    >>> confidence_of("36 + 4 = 41 [0.3]"), confidence_of("[none]"), confidence_of("36 + 4 = 40")
    (0.3, None, 0.9)
    """
    asked = CONFIDENCE.search(step)
    if asked is None:
        return 0.9
    return None if asked[1] == "none" else float(asked[1])


def scores(steps: list[str]) -> dict[str, Any]:
    """The answer of `POST /v1/steps`."""
    values = [confidence_of(step) for step in steps]
    known = [value for value in values if value is not None]
    aggregates = (min(known), math.prod(known), sum(known) / len(known), values[-1]) if known == values else (None,) * 4
    names = ("min", "product", "mean", "last")
    return {
        "confidences": values,
        "raw": values,
        **dict(zip(names, aggregates, strict=True)),
        "first_below": next((i for i, value in enumerate(values) if value is not None and value < 0.5), None),
    }


def refusal(status: int, message: str, **headers: str) -> JSONResponse:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return JSONResponse({"error": {"type": "refused", "message": message}}, status, names)


class FakeServer:
    """What the page was asked, and how it answers: by what stands in the problem.

    Attributes:
        asked: the bodies of all questions, in order.
        next_answers: answers to the next questions, in place of scores.
        slow: a question whose steps hold "slow" is answered when this is set.
        changed_files: other contents of some paths, as from a proxy that changes them.
        needs_key: whether questions without `KEY` are refused.
    """

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.next_answers: list[Response] = []
        self.slow = threading.Event()
        self.slow_answers = 0
        self.needs_key = False
        self.changed_files: dict[str, str] = {}
        self.app = FastAPI()
        self.app.middleware("http")(self.change)
        self.app.include_router(page_router())
        self.app.add_api_route("/health", self.health)
        self.app.add_api_route("/v1/about", self.about)
        self.app.add_api_route("/v1/steps", self.steps, methods=["POST"], response_model=None)
        self.url = ""

    async def change(self, request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.url.path in self.changed_files:
            return Response(self.changed_files[request.url.path], media_type="text/javascript")
        return await call_next(request)

    def health(self) -> dict[str, Any]:
        return {"status": "ok"}

    def about(self) -> dict[str, Any]:
        model = {"checkpoint": "checkpoint_step_500", "calibrated": True, "<b>": "<i>", "maps": {"prm800k": 1}}
        return {"model": model, "limits": {"steps": 512}}

    def steps(self, request: Request, body: dict[str, Any]) -> Any:
        self.asked.append(body)
        if self.needs_key and request.headers.get("authorization") != f"Bearer {KEY}":
            return refusal(401, "no such key")
        if any("slow" in step for step in body["steps"]):
            self.slow.wait(10)
            self.slow_answers += 1
        return self.next_answers.pop(0) if self.next_answers else scores(body["steps"])


@contextmanager
def served(fake: FakeServer) -> Iterator[FakeServer]:
    """Serves it on a free port of this machine until the block ends; `fake.url` says where."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        fake.url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        server = uvicorn.Server(uvicorn.Config(fake.app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.005)
        yield fake
        fake.slow.set()
        server.should_exit = True
        thread.join(10)

"""A model without weights, time that passes at once, and clients without a network, for tests of the server."""

from __future__ import annotations

import asyncio
import hashlib
import json
import selectors
from collections.abc import Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx2

from surestep.errors import InputError, SurestepError
from surestep.inference.certifier import Certifier
from surestep.inference.recomputed_sessions import RecomputedSession
from surestep.serving.api_keys import ApiKeys
from surestep.serving.app import create_app
from surestep.serving.http.event_log import EventLog
from surestep.serving.pass_runner import NodeScores, SessionStep, StepRequest
from surestep.serving.settings import ServeConfig

T = TypeVar("T")

TOKENS_PER_S = 20_000.0
"""Of the fake model: a pass of 50 ms has 1,000 tokens."""


class _NoWaiting(selectors.SelectSelector):
    """Instead of waiting for the next timer, the clock is set to it."""

    def __init__(self, skip: Callable[[float], None]) -> None:
        super().__init__()
        self._skip = skip

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everything waits, and no timer is set: a test would hang here")
        if not ready and timeout:
            self._skip(timeout)
        return ready


class _FastLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer; for work without threads and sockets."""

    def __init__(self) -> None:
        self._seconds = 0.0
        super().__init__(_NoWaiting(self._skip))

    def _skip(self, seconds: float) -> None:
        self._seconds += seconds

    def time(self) -> float:
        return self._seconds


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` in time that passes at once; an hour of it is the most."""
    with asyncio.Runner(loop_factory=_FastLoop) as runner:
        return runner.run(asyncio.wait_for(work, 3600))


def now() -> float:
    """The running loop's clock."""
    return asyncio.get_running_loop().time()


def number_for(problem: str, texts: Sequence[str]) -> float:
    """What the fake model thinks of a path: a number in (0, 1) that no other path has."""
    digest = hashlib.sha256(json.dumps([problem, *texts]).encode()).digest()
    return (int.from_bytes(digest[:6], "big") + 1) / (2**48 + 2)


@dataclass(frozen=True)
class FakeWork:
    """A request; a token is a word."""

    request: StepRequest
    num_tokens: int
    num_steps: int
    session_step: SessionStep | None = None
    nodes: tuple[int, ...] = ()


@dataclass
class FakeRunner:
    """Scores by a hash of the path; fails where a text says so.

    Attributes:
        passes: how many requests each pass had.
        order: the problems, in the order in which they were run.
    """

    passes: list[int] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    token_budget: int = 8192

    def about(self) -> dict[str, Any]:
        return {"checkpoint": "/secret/place/checkpoint_step_7", "step": 7, "token_budget": self.token_budget}

    def encode(self, request: StepRequest | SessionStep) -> FakeWork:
        if isinstance(request, SessionStep):
            assert isinstance(request.session, RecomputedSession)
            whole = self.encode(request.session.request_for(request))
            return FakeWork(whole.request, whole.num_tokens, whole.num_steps, request, whole.nodes)
        tree = request.tree
        if "unreadable" in tree.problem:
            raise InputError("this text cannot be read")
        tokens = len(tree.problem.split()) + sum(len(node.text.split()) for node in tree.nodes)
        return FakeWork(request, tokens, len(tree.nodes), nodes=tuple(range(len(tree.nodes))))

    def pieces(self, work: FakeWork, budget: int) -> list[FakeWork]:
        count = -(-work.num_tokens // budget)
        if work.session_step is not None or count == 1:
            return [work]
        size = -(-work.num_tokens // count)
        return [FakeWork(work.request, size, work.num_steps, None, work.nodes[i::count]) for i in range(count)]

    def run(self, works: Sequence[FakeWork]) -> list[NodeScores | SurestepError]:
        self.passes.append(len(works))
        if any("poison" in node.text for work in works for node in work.request.tree.nodes):
            raise RuntimeError("device-side assert, near the text: poison")
        self.order += [work.request.tree.problem for work in works]
        return [self._scores(work) for work in works]

    def _scores(self, work: FakeWork) -> NodeScores:
        tree = work.request.tree
        numbers = [
            number_for(tree.problem, [tree.nodes[j].text for j in tree.path(i)]) if i in work.nodes else None
            for i in range(len(tree.nodes))
        ]
        scores = NodeScores(tuple(numbers), tuple(None if n is None else n / 2 for n in numbers))
        step = work.session_step
        if step is None:
            return scores
        assert isinstance(step.session, RecomputedSession)
        return step.session.take(step, scores, num_tokens=work.num_tokens)

    def open_session(self, problem: str, namespace: str) -> RecomputedSession:
        return RecomputedSession(problem)


class FakeThreads:
    """No threads: encoding takes no time, a pass the time of its tokens."""

    def __init__(self, tokens_per_s: float = TOKENS_PER_S) -> None:
        self._tokens_per_s = tokens_per_s

    async def encode(self, work: Callable[..., T], *arguments: Any) -> T:
        await asyncio.sleep(0)
        return work(*arguments)

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        tokens = 0
        if arguments and isinstance(arguments[0], list):
            tokens = sum(item.num_tokens for item in arguments[0])
        await asyncio.sleep(tokens / self._tokens_per_s)
        return work(*arguments)


@dataclass
class Server:
    """A server that runs, and how to ask it."""

    app: Any
    runner: FakeRunner
    log: list[str]

    @property
    def service(self) -> Any:
        return self.app.state.service

    def client(self, key: str | None = None, headers: dict[str, str] | None = None) -> httpx2.AsyncClient:
        headers = (headers or {}) | ({} if key is None else {"Authorization": f"Bearer {key}"})
        transport = httpx2.ASGITransport(app=self.app)
        return httpx2.AsyncClient(transport=transport, base_url="http://server", headers=headers, timeout=None)


@asynccontextmanager
async def serving(
    *,
    keys: ApiKeys | None = None,
    runner: FakeRunner | None = None,
    routers: Sequence[Any] = (),
    threads: FakeThreads | None = None,
    certifier: Certifier | None = None,
    **settings: Any,
) -> Any:
    """A warm server with the fake model; `settings` are fields of `ServeConfig`."""
    made, lines = runner or FakeRunner(), []
    app = create_app(
        ServeConfig(**settings),
        made,
        keys=keys,
        routers=routers,
        threads=threads or FakeThreads(),
        certifier=certifier,
        log=EventLog("debug", write=lines.append),
    )
    async with app.router.lifespan_context(app):
        while not app.state.service.is_warm:
            await asyncio.sleep(0.1)
        made.passes.clear()
        made.order.clear()
        yield Server(app, made, lines)


def solution(number: int, *, words: int = 5, steps: int = 2) -> dict[str, Any]:
    """A request of its own, of about `words` tokens a step."""
    return {"problem": f"problem {number}", "steps": [f"step {i} of {number} " + "xxx " * words for i in range(steps)]}


def expected(body: dict[str, Any]) -> list[float]:
    """What the fake model answers."""
    return [number_for(body["problem"], body["steps"][: i + 1]) for i in range(len(body["steps"]))]

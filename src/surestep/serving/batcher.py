"""Requests of many clients to passes: fair, bounded in time, and nobody fails for a neighbour.

One asyncio loop decides; one thread encodes, another runs the model. A request that is encoded waits in the fair queue;
whenever the model is free, the next ones that fit into a pass go together. Knows no HTTP and no model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from surestep.counted import counted
from surestep.errors import InputError, SurestepError
from surestep.serving.fair_queue import FairQueue
from surestep.serving.pass_runner import (
    EncodedRequest,
    NodeScores,
    PassRunner,
    SessionHandle,
    SessionStep,
    StepRequest,
)
from surestep.serving.settings import ServeConfig
from surestep.serving.speed import Speed
from surestep.serving.threads import Threads

_OVERLAP_S = 1.0
"""For so long after requests overlapped, more of them are expected."""
_LETTERS_PER_TOKEN = 16
"""A text with more letters than this times the limit has more tokens than the limit: it is not even encoded."""


class TooLateError(Exception):
    """The deadline has passed, or cannot be kept."""


class TooLargeError(Exception):
    """The request has more tokens than one may have."""


class DrainingError(Exception):
    """The server stops: nothing new is taken."""


class PassFailedError(Exception):
    """The model failed on this very request; `cause` says how."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__("the model failed on this request")
        self.cause = cause


class Watch(Protocol):
    """Told what happens, for metrics and logs; never a text."""

    def pass_done(self, *, num_requests: int, num_tokens: int, num_steps: int, seconds: float) -> None:
        """A pass went well."""
        ...

    def pass_failed(self, error: Exception, *, num_requests: int) -> None:
        """A pass failed; its requests are tried in halves, and one that fails alone is refused."""
        ...

    def dropped(self) -> None:
        """A request left the queue before a pass took it: its client has gone, or it was too late."""
        ...


@dataclass(eq=False)
class _Request:
    """What one `submit` waits for.

    Attributes:
        num_open: pieces that are not through.
        scores: of the pieces that are.
        session: that a pass may change, also when nobody waits for the answer any more.
    """

    key: str
    answer: asyncio.Future[NodeScores]
    num_open: int = 0
    scores: NodeScores | None = None
    session: SessionHandle | None = None

    def take(self, result: NodeScores | SurestepError | PassFailedError) -> None:
        """A piece is through."""
        if self.answer.done():
            return
        if isinstance(result, BaseException):
            self.answer.set_exception(result)
            return
        self.scores = result if self.scores is None else self.scores.joined(result)
        self.num_open -= 1
        if self.num_open == 0:
            self.answer.set_result(self.scores)


@dataclass(eq=False)
class _Piece:
    """A request or a part of it, as it waits for a pass."""

    request: _Request
    encoded: EncodedRequest

    @property
    def num_tokens(self) -> int:
        """At least 1, so that it counts for something."""
        return max(1, self.encoded.num_tokens)


class Batcher:
    """Scores requests; `start` and `submit` from one asyncio loop.

    Args:
        runner: the model.
        settings: limits.
        speed: what a pass may hold.
        threads: where encoding and passes are done.
        watch: told what happens.
    """

    def __init__(
        self, runner: PassRunner, settings: ServeConfig, speed: Speed, *, threads: Threads, watch: Watch
    ) -> None:
        self._runner = runner
        self._settings = settings
        self._speed = speed
        self._threads = threads
        self._watch = watch
        self._queue: FairQueue[_Piece] = FairQueue()
        self._open: set[_Request] = set()
        self._num_encoding = 0
        self._running_tokens = 0
        self._passes: dict[asyncio.Task[None], Sequence[_Piece]] = {}
        self._pass_ended = 0.0
        self._overlapped = self._waiting_since = float("-inf")
        self._is_draining = self._is_stopped = False
        self._changed = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    @property
    def num_open(self) -> int:
        """Requests that are being encoded, wait or run."""
        return len(self._open) + self._num_encoding

    @property
    def num_waiting(self) -> int:
        """Pieces of requests in the queue."""
        return self._queue.num_items

    @property
    def waiting_tokens(self) -> int:
        """Tokens in the queue."""
        return self._queue.num_tokens

    def start(self) -> None:
        """Begin to run passes, within a running loop."""
        self._worker = asyncio.create_task(self._work(), name="passes")

    async def stop(self) -> None:
        """End at once; whoever still waits gets `DrainingError`."""
        self._is_draining = self._is_stopped = True
        for request in list(self._open):
            if not request.answer.done():
                request.answer.set_exception(DrainingError())
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)

    async def drain(self, timeout_s: float) -> bool:
        """Take nothing new and answer what waits; whether all of it was answered within `timeout_s`."""
        self._is_draining = True
        end = asyncio.get_running_loop().time() + timeout_s
        try:
            async with asyncio.timeout_at(end):
                await self._until(lambda: not self.num_open)
        except TimeoutError:
            return False
        return True

    async def submit(
        self,
        request: StepRequest | SessionStep,
        *,
        key: str,
        deadline: float,
        on_encoded: Callable[[int], None] = lambda num_tokens: None,
    ) -> NodeScores:
        """The scores of a request. When the caller is cancelled, the request leaves the queue.

        Args:
            request: what is scored.
            key: whose it is; keys take turns.
            deadline: by the loop's clock.
            on_encoded: told the number of tokens.

        Raises:
            InputError: the request cannot be scored.
            TooLargeError: it has too many tokens.
            TooLateError: the deadline has passed, or the estimate says that it will.
            DrainingError: the server stops.
            PassFailedError: the model failed on this request alone.
        """
        if self._is_draining:
            raise DrainingError
        loop = asyncio.get_running_loop()
        if self._open or self._num_encoding:
            self._overlapped = loop.time()
        try:
            async with asyncio.timeout_at(deadline):
                self._num_encoding += 1
                try:
                    pieces = await self._threads.encode(self._encoded, request)
                finally:
                    self._num_encoding -= 1
                    self._changed.set()
                num_tokens = sum(piece.num_tokens for piece in pieces)
                on_encoded(num_tokens)
                self._refuse_if_late(key, num_tokens, deadline - loop.time())
                session = request.session if isinstance(request, SessionStep) else None
                return await self._answer(key, pieces, session)
        except TimeoutError:
            raise TooLateError("the deadline has passed") from None

    def _encoded(self, request: StepRequest | SessionStep) -> Sequence[EncodedRequest]:
        """In the encoder thread: the request in pieces that fit into a pass."""
        limit = self._speed.request_limit
        if isinstance(request, SessionStep):
            texts = [*request.steps, request.context or ""]
        else:
            nodes = request.tree.nodes
            texts = [request.tree.problem, *(text for node in nodes for text in (node.text, node.context or ""))]
        if sum(map(len, texts)) > _LETTERS_PER_TOKEN * limit:
            raise TooLargeError(f"the request has more than {counted(limit, 'token')}")
        encoded = self._runner.encode(request)
        if encoded.num_tokens > limit:
            raise TooLargeError(f"the request has {counted(encoded.num_tokens, 'token')}; allowed: {limit:,}")
        pieces: Sequence[EncodedRequest] = self._runner.pieces(encoded, self._speed.pass_budget)
        return pieces

    def _refuse_if_late(self, key: str, num_tokens: int, seconds_left: float) -> None:
        """Keys take turns, so a key waits for its own tokens times the keys, at most for all."""
        queue = self._queue
        own = (queue.tokens_of(key) + num_tokens) * (queue.num_keys() + 1)
        ahead = self._running_tokens + min(queue.num_tokens + num_tokens, own)
        needed = self._speed.seconds_for(ahead)
        if needed > seconds_left:
            raise TooLateError(
                f"the answer would take about {needed:.1f} s, and the deadline is in {seconds_left:.1f} s"
            )

    async def settled(self, session: SessionHandle) -> None:
        """Wait until no pass runs that may still change a session.

        Whoever asked for a step may be gone, or too late, while the pass that adds it runs: it cannot be stopped.
        """
        await self._until(
            lambda: not any(piece.request.session is session for pieces in self._passes.values() for piece in pieces)
        )

    async def _answer(self, key: str, pieces: Sequence[EncodedRequest], session: SessionHandle | None) -> NodeScores:
        if self._is_stopped:
            raise DrainingError
        loop = asyncio.get_running_loop()
        request = _Request(key, loop.create_future(), num_open=len(pieces), session=session)
        waiting = [_Piece(request, piece) for piece in pieces]
        self._open.add(request)
        if not self._queue.num_items:
            self._waiting_since = loop.time()
        for piece in waiting:
            self._queue.push(key, piece)
        self._changed.set()
        try:
            return await request.answer
        finally:
            self._open.discard(request)
            # Where the answer is there, nothing of it waits; else the client has gone, or it is too late.
            waited = [self._queue.discard(key, piece) for piece in waiting]
            if any(waited):
                self._watch.dropped()
            if not request.answer.cancel() and not request.answer.cancelled():
                request.answer.exception()  # nobody may be left who asks for it
            self._changed.set()

    async def _work(self) -> None:
        try:
            while True:
                await self._until(self._may_begin)
                if not self._passes:
                    await self._gather()
                taken = self._queue.take(self._speed.pass_budget)
                if pieces := [piece for piece in taken if not piece.request.answer.done()]:
                    task = asyncio.create_task(self._run(pieces))
                    self._passes[task] = pieces
                    task.add_done_callback(self._pass_is_over)
        finally:
            for task in self._passes:
                task.cancel()

    async def _until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self._changed.clear()
            await self._changed.wait()

    def _may_begin(self) -> bool:
        """The first pass begins with whatever waits, one beside it only when it is full."""
        if not self._passes:
            return self._queue.num_items > 0
        is_full = self._queue.num_tokens >= self._speed.pass_budget
        return is_full and len(self._passes) < self._settings.passes_at_once

    def _pass_is_over(self, task: asyncio.Task[None]) -> None:
        del self._passes[task]
        self._changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error  # a bug of ours, for the loop's handler

    async def _gather(self) -> None:
        """While the model is idle and others are on their way, wait for them a little; the queue may be empty after."""
        loop = asyncio.get_running_loop()
        end = self._waiting_since + self._settings.delay_ms / 1000
        try:
            async with asyncio.timeout_at(end):
                while (
                    0 < self._queue.num_tokens < self._speed.pass_budget
                    and loop.time() - self._overlapped < _OVERLAP_S
                    and loop.time() < end
                ):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass

    async def _run(self, pieces: list[_Piece]) -> None:
        """One pass, or more where it fails."""
        pieces = [piece for piece in pieces if not piece.request.answer.done()]
        if not pieces:
            return
        loop = asyncio.get_running_loop()
        num_tokens = sum(piece.num_tokens for piece in pieces)
        self._running_tokens += num_tokens
        started = loop.time()
        try:
            results = await self._threads.run(self._runner.run, [piece.encoded for piece in pieces])
            if len(results) != len(pieces):
                raise RuntimeError(f"{counted(len(results), 'result')} for {counted(len(pieces), 'request')}")
        except Exception as error:
            self._watch.pass_failed(error, num_requests=len(pieces))
            if len(pieces) == 1:
                failed = error if isinstance(error, InputError) else PassFailedError(error)
                pieces[0].request.take(failed)
                return
            middle = len(pieces) // 2
            await self._run(pieces[:middle])
            await self._run(pieces[middle:])
            return
        finally:
            self._running_tokens -= num_tokens
            # A pass that began beside another had the model for itself only from the other's end on.
            seconds = loop.time() - max(started, self._pass_ended)
            self._pass_ended = loop.time()
        self._speed.observe(num_tokens, seconds)
        num_steps = sum(piece.encoded.num_steps for piece in pieces)
        self._watch.pass_done(num_requests=len(pieces), num_tokens=num_tokens, num_steps=num_steps, seconds=seconds)
        for piece, result in zip(pieces, results, strict=True):
            piece.request.take(result)

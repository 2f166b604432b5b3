"""The client whose every answer is awaited."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, Self, TypeVar

import httpx2

from surestep.client.calls import (
    ABOUT,
    Address,
    Call,
    Item,
    KnownSession,
    SessionState,
    open_call,
    pair_of,
    rerank_call,
    score_call,
)
from surestep.inference.rerank import RankedCandidate
from surestep.inference.result import SolutionScores

T = TypeVar("T")


class AsyncSession(KnownSession):
    """A solution on the server that grows step by step; `AsyncClient.session` opens it."""

    def __init__(self, client: AsyncClient, state: SessionState) -> None:
        super().__init__(state)
        self._client = client

    async def add(self, step: str, *, context: str | None = None) -> float | None:
        """The confidence of the next step, which is kept."""
        return await self._client._send(self._state.add_call(step, context))

    async def score_candidates(self, steps: Sequence[str], *, context: str | None = None) -> list[float | None]:
        """The confidence of each candidate for the next step; none is kept."""
        return await self._client._send(self._state.candidates_call(steps, context))

    async def fork(self) -> AsyncSession:
        """Another session that begins with what this one holds."""
        return AsyncSession(self._client, await self._client._send(self._state.fork_call()))

    async def close(self) -> None:
        """Give its memory back; it would expire by itself."""
        await self._client._send(self._state.close_call())


class AsyncClient:
    """A server's model, called like a `surestep.Scorer`; for one event loop.

    Args:
        url: `http://127.0.0.1:8000`, say.
        api_key: where the server wants one.
        timeout_s: for one answer, in which the server gives up too.
        retries: how often a request is sent again when the server is busy, starts, or cannot be reached.
        concurrency: requests that `score_many` has on their way at once.
        transport: of httpx2, in place of the network.
        sleep: waits between retries.

    Raises:
        InputError: a text, or the address, is refused.
        ServerError: every other way to fail.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        retries: int = 8,
        concurrency: int = 16,
        transport: httpx2.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._address = Address(url.rstrip("/"), api_key, timeout_s, retries)
        self._concurrency = concurrency
        self._sleep = sleep
        self._http = httpx2.AsyncClient(**self._address.options(), transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def about(self) -> dict[str, Any]:
        """Which model answers, and within which limits."""
        return await self._send(ABOUT)

    async def score(self, problem: str, steps: Sequence[str], *, dataset: str | None = None) -> SolutionScores:
        """The confidences of one solution; see `Scorer.score`."""
        return await self._send(score_call(problem, steps, dataset))

    async def score_many(
        self, items: Iterable[Item] | AsyncIterable[Item], *, dataset: str | None = None
    ) -> AsyncIterator[SolutionScores]:
        """The confidences of many solutions, in order; no more are on their way than `concurrency` says.

        Where an item is wrong, or the iterable raises, the results of the items before it come first.
        """
        waiting: deque[asyncio.Task[SolutionScores]] = deque()
        source, error = _each(items), None
        try:
            while True:
                try:
                    call = score_call(*pair_of(await anext(source)), dataset)
                except StopAsyncIteration:
                    break
                except Exception as raised:
                    error = raised
                    break
                waiting.append(asyncio.create_task(self._send(call)))
                if len(waiting) >= self._concurrency:
                    yield await waiting.popleft()
            while waiting:
                yield await waiting.popleft()
            if error is not None:
                raise error
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def rerank(
        self, problem: str, candidates: Sequence[Sequence[str]], *, by: str = "min", dataset: str | None = None
    ) -> list[RankedCandidate]:
        """Candidates, best first; see `Scorer.rerank`."""
        return await self._send(rerank_call(problem, candidates, by, dataset))

    async def session(self, problem: str) -> AsyncSession:
        """A solution that grows step by step."""
        return AsyncSession(self, await self._send(open_call(problem)))

    async def _send(self, call: Call[T]) -> T:
        attempt = 0
        while True:
            outcome: httpx2.Response | httpx2.HTTPError
            try:
                outcome = await self._http.request(call.method, call.path, json=call.body)
                if outcome.is_success:
                    return self._address.value(call, outcome)
            except httpx2.HTTPError as error:
                outcome = error
            wait = self._address.wait(call, attempt, outcome)
            if wait is None:
                raise self._address.error(outcome) from None
            await self._sleep(wait)
            attempt += 1


async def _each(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncIterator[Item]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item

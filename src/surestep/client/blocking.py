"""The client that waits for each answer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
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


class RemoteSession(KnownSession):
    """A solution on the server that grows step by step; `Client.session` opens it."""

    def __init__(self, client: Client, state: SessionState) -> None:
        super().__init__(state)
        self._client = client

    def add(self, step: str, *, context: str | None = None) -> float | None:
        """The confidence of the next step, which is kept."""
        return self._client._send(self._state.add_call(step, context))

    def score_candidates(self, steps: Sequence[str], *, context: str | None = None) -> list[float | None]:
        """The confidence of each candidate for the next step; none is kept."""
        return self._client._send(self._state.candidates_call(steps, context))

    def fork(self) -> RemoteSession:
        """Another session that begins with what this one holds."""
        return RemoteSession(self._client, self._client._send(self._state.fork_call()))

    def close(self) -> None:
        """Give its memory back; it would expire by itself."""
        self._client._send(self._state.close_call())


class Client:
    """A server's model, called like a `surestep.Scorer`; safe to use from several threads.

    Args:
        url: `http://127.0.0.1:8000`, say.
        api_key: where the server wants one.
        timeout_s: for one answer, in which the server gives up too.
        retries: how often a request is sent again when the server is busy, starts, or cannot be reached.
        concurrency: requests that `score_many` has on their way at once.
        speaks: the protocol, where it is another than Surestep's own; for messages.
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
        speaks: str | None = None,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._address = Address(url.rstrip("/"), api_key, timeout_s, retries, speaks)
        self._concurrency = concurrency
        self._sleep = sleep
        self._http = httpx2.Client(**self._address.options(), transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def about(self) -> dict[str, Any]:
        """Which model answers, and within which limits."""
        return self._send(ABOUT)

    @cached_property
    def split_rule(self) -> str | None:
        """How raw solutions were split in the checkpoint's training, where they were; asked of the server once."""
        rule = self.about()["model"].get("split_rule")
        return None if rule is None else str(rule)

    def score(self, problem: str, steps: Sequence[str], *, dataset: str | None = None) -> SolutionScores:
        """The confidences of one solution; see `Scorer.score`."""
        return self._send(score_call(problem, steps, dataset))

    def score_many(self, items: Iterable[Item], *, dataset: str | None = None) -> Iterator[SolutionScores]:
        """The confidences of many solutions, in order; no more are on their way than `concurrency` says.

        Where an item is wrong, or the iterable raises, the results of the items before it come first.
        """
        return self._send_many(score_call(*pair_of(item), dataset) for item in items)

    def _send_many(self, calls: Iterable[Call[T]]) -> Iterator[T]:
        """The answers of many requests, in order, as `score_many` sends them."""
        waiting: deque[Future[T]] = deque()
        pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="surestep-client")
        source, error = iter(calls), None
        try:
            while True:
                try:
                    call = next(source)
                except StopIteration:
                    break
                except Exception as raised:
                    error = raised
                    break
                waiting.append(pool.submit(self._send, call))
                if len(waiting) >= 2 * self._concurrency:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
            if error is not None:
                raise error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def rerank(
        self, problem: str, candidates: Sequence[Sequence[str]], *, by: str = "min", dataset: str | None = None
    ) -> list[RankedCandidate]:
        """Candidates, best first; see `Scorer.rerank`."""
        return self._send(rerank_call(problem, candidates, by, dataset))

    def session(self, problem: str) -> RemoteSession:
        """A solution that grows step by step."""
        return RemoteSession(self, self._send(open_call(problem)))

    def _send(self, call: Call[T]) -> T:
        attempt = 0
        while True:
            outcome: httpx2.Response | httpx2.HTTPError
            try:
                outcome = self._http.request(call.method, call.path, json=call.body)
                if outcome.is_success:
                    return self._address.value(call, outcome)
            except httpx2.HTTPError as error:
                outcome = error
            wait = self._address.wait(call, attempt, outcome)
            if wait is None:
                raise self._address.error(outcome) from None
            self._sleep(wait)
            attempt += 1

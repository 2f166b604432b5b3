"""What is known of the request that is being answered; each has its own, also below `await`."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from surestep.serving.api_keys import Caller
from surestep.serving.speed import Reservation


@dataclass(eq=False)
class RequestContext:
    """One request.

    Attributes:
        started: when it came, by the loop's clock.
        deadline: until when it is answered, by the same clock.
        caller: whoever sent it, once that is known.
        reservation: the room that it holds in the queue, where it takes any.
        id: in the header X-Request-Id and in the log.
        num_tokens: encoded for it so far.
        num_steps: scored for it so far.
    """

    started: float
    deadline: float
    caller: Caller | None = None
    reservation: Reservation | None = None
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    num_tokens: int = 0
    num_steps: int = 0

    def encoded(self, num_tokens: int) -> None:
        """A part of the request has so many tokens."""
        self.num_tokens += num_tokens
        if self.reservation is not None:
            self.reservation.know_tokens(num_tokens)


CURRENT: ContextVar[RequestContext] = ContextVar("request")


def current_caller() -> Caller:
    """Whoever sent the request that is being answered."""
    caller = CURRENT.get().caller
    assert caller is not None, "admission lets nobody in unnamed"
    return caller


class InFlight:
    """Requests that were taken, body and all, and have no answer yet."""

    def __init__(self) -> None:
        self._count = 0
        self._none_left = asyncio.Event()
        self._none_left.set()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Such a request, as long as the block lasts."""
        self._count += 1
        self._none_left.clear()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._none_left.set()

    async def none_left(self) -> None:
        """Wait until all are answered."""
        await self._none_left.wait()

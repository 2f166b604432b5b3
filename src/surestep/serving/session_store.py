"""Sessions by their ids: bound to a key, limited in number, closed when they are not used.

An id is 128 random bits. One of another key is answered like one that never was.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from surestep.counted import counted
from surestep.serving.pass_runner import SessionHandle
from surestep.serving.settings import ServeConfig


class NoSessionError(Exception):
    """There is no such session, or it is another key's."""


class TooManySessionsError(Exception):
    """No more sessions may be opened now."""


@dataclass(eq=False)
class OpenSession:
    """One session.

    Attributes:
        id: 32 hexadecimal digits.
        handle: the model's side.
        lock: held while a step is added: steps of one session come one after another.
        num_users: requests that work with it now; it does not expire meanwhile.
    """

    id: str
    owner: str
    handle: SessionHandle
    used: float
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    num_users: int = 0
    is_closed: bool = False


class SessionStore:
    """All open sessions.

    Args:
        settings: how many there may be, and how long they live.
        share: of them, what one key may have, in (0, 1].
        clock: seconds.
    """

    def __init__(self, settings: ServeConfig, *, share: float, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._most_of_one = max(1, int(settings.max_sessions * share))
        self._clock = clock
        self._sessions: dict[str, OpenSession] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def check_room(self, owner: str) -> None:
        """Raise where `owner` may not open another session.

        Raises:
            TooManySessionsError: there are as many as there may be.
        """
        own = sum(session.owner == owner for session in self._sessions.values())
        if own >= self._most_of_one:
            raise TooManySessionsError(
                f"you have {counted(own, 'session')} open, as many as allowed; close one, or wait for expiry"
            )
        if len(self._sessions) >= self._settings.max_sessions:
            raise TooManySessionsError("as many sessions are open as allowed; try again later")

    def add(self, owner: str, handle: SessionHandle) -> OpenSession:
        """A new session of `owner`.

        Raises:
            TooManySessionsError: see `check_room`; the handle is not closed.
        """
        self.check_room(owner)
        session = OpenSession(secrets.token_hex(16), owner, handle, self._clock())
        self._sessions[session.id] = session
        return session

    @contextmanager
    def used(self, id: str, owner: str) -> Iterator[OpenSession]:
        """The session, which does not expire within the block.

        Raises:
            NoSessionError: there is none of that id, or it belongs to another.
        """
        session = self._sessions.get(id)
        if session is None or session.owner != owner or self._is_expired(session):
            raise NoSessionError("there is no such session: it was deleted, or it has expired")
        session.num_users += 1
        try:
            yield session
        finally:
            session.num_users -= 1
            session.used = self._clock()

    def remove(self, session: OpenSession) -> None:
        """Forget a session; closing its handle is the caller's."""
        session.is_closed = True
        self._sessions.pop(session.id, None)

    def take_expired(self) -> list[OpenSession]:
        """Sessions that were not used for too long, no longer in the store; closing them is the caller's."""
        expired = [session for session in self._sessions.values() if self._is_expired(session)]
        for session in expired:
            self.remove(session)
        return expired

    def _is_expired(self, session: OpenSession) -> bool:
        return session.num_users == 0 and self._clock() - session.used > self._settings.session_expiry_s

"""How fast the model is, what a pass may therefore hold, and how much may wait; learned from the passes themselves."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable

from surestep.serving.settings import ServeConfig

_WEIGHT_OF_A_PASS = 0.1
"""Of the newest pass in the moving mean of the speed: the last ten or so decide."""
_BYTES_PER_TOKEN = 4.0
"""Of a body before any was read: English in JSON."""


class Speed:
    """Tokens a second, from full passes: a small one says how long a pass takes at least, not how fast it is.

    Args:
        settings: how long a pass should take.
        most: tokens that the model allows in a pass.

    Attributes:
        tokens_per_s: the moving mean; before the first pass, a guess that lets one request through.
    """

    def __init__(self, settings: ServeConfig, most: int) -> None:
        self._settings = settings
        self._most = most
        self.tokens_per_s = settings.smallest_pass * 1000 / settings.pass_time_ms
        self._is_measured = False

    @property
    def pass_budget(self) -> int:
        """Tokens that a pass of `pass_time_ms` has."""
        wanted = int(self.tokens_per_s * self._settings.pass_time_ms / 1000)
        return max(1, min(max(wanted, self._settings.smallest_pass), self._most))

    @property
    def request_limit(self) -> int:
        """Tokens that one request may have."""
        return max(int(self._settings.max_request_passes * self.pass_budget), self._settings.smallest_request)

    @property
    def room(self) -> int:
        """Tokens that may wait."""
        return max(1, int(self.tokens_per_s * self._settings.queue_s))

    def observe(self, num_tokens: int, seconds: float) -> None:
        """A pass of `num_tokens` took `seconds`."""
        if num_tokens * 2 < self.pass_budget or seconds <= 0:
            return
        new = num_tokens / seconds
        if self._is_measured:
            self.tokens_per_s += _WEIGHT_OF_A_PASS * (new - self.tokens_per_s)
        else:
            self.set(new)

    def set(self, tokens_per_s: float) -> None:
        """What a measurement at the start gave."""
        self.tokens_per_s = tokens_per_s
        self._is_measured = True

    def seconds_for(self, num_tokens: float) -> float:
        """How long so many tokens take."""
        return num_tokens / self.tokens_per_s


class BusyError(Exception):
    """There is no room; `retry_after_s` says when to come again."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"the queue is full; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class Reservation:
    """Room that one HTTP request holds from before its body is read until it is answered."""

    def __init__(self, room: Room, key: str) -> None:
        self._room = room
        self._key = key
        self._num_bytes = 0
        self._num_tokens = 0
        self._is_estimate = True

    def expect_bytes(self, num_bytes: int) -> None:
        """The body is so long, or so much of it has come.

        Raises:
            BusyError: there is no room for it.
        """
        if num_bytes > self._num_bytes:
            tokens = math.ceil(num_bytes / self._room.bytes_per_token)
            self._room.change(self._key, tokens - self._num_tokens, own=self._num_tokens)
            self._num_bytes, self._num_tokens = num_bytes, tokens

    def know_tokens(self, num_tokens: int) -> None:
        """A part of it was encoded; the first one replaces the estimate."""
        already = 0 if self._is_estimate else self._num_tokens
        if self._is_estimate:
            self._room.learn(self._num_bytes, num_tokens)
        self._is_estimate = False
        self._room.settle(self._key, already + num_tokens - self._num_tokens)
        self._num_tokens = already + num_tokens

    def release(self) -> None:
        """The request is answered, or gone."""
        self._room.settle(self._key, -self._num_tokens)
        self._num_tokens = 0


class Room:
    """Counts what waits and runs, by key, in tokens, and refuses what would be too much.

    Args:
        speed: decides how much may wait.
        share: of that, what one key may fill, in (0, 1].
        jitter: a number in [0, 1), so that those refused together do not come again together.

    Attributes:
        num_tokens: of all requests that are being read, wait or run.
        bytes_per_token: of bodies, a moving mean.
    """

    def __init__(self, speed: Speed, share: float, *, jitter: Callable[[], float] = random.random) -> None:
        self._speed = speed
        self._share = share
        self._jitter = jitter
        self._by_key: Counter[str] = Counter()
        self.num_tokens = 0
        self.bytes_per_token = _BYTES_PER_TOKEN

    def reserve(self, key: str, num_bytes: int) -> Reservation:
        """Room for a request whose body has `num_bytes`, as far as that is known.

        Raises:
            BusyError: there is none. What is alone always finds room.
        """
        reservation = Reservation(self, key)
        # Every request takes some room, also one whose length is not known yet.
        reservation.expect_bytes(max(num_bytes, 1))
        return reservation

    def change(self, key: str, num_tokens: int, *, own: int) -> None:
        """Room for `num_tokens` more, of a request that holds `own` already.

        Raises:
            BusyError: there is none.
        """
        share = self._speed.room * self._share
        others_of_key = self._by_key[key] - own
        # A key that was alone may hold more than its share, which must not be at the cost of the others.
        others = min(others_of_key, share) + sum(
            min(tokens, share) for name, tokens in self._by_key.items() if name != key
        )
        wanted = own + num_tokens
        is_full = others > 0 and others + wanted > self._speed.room
        is_over_share = others_of_key > 0 and others_of_key + wanted > share
        if is_full or is_over_share:
            seconds = self._speed.seconds_for(others if is_full else others_of_key)
            raise BusyError(max(1, math.ceil(seconds * (1 + 0.5 * self._jitter()))))
        self.settle(key, num_tokens)

    def settle(self, key: str, num_tokens: int) -> None:
        """So many more tokens, or fewer where negative, whatever the room."""
        self.num_tokens += num_tokens
        self._by_key[key] += num_tokens
        if self._by_key[key] <= 0:
            del self._by_key[key]

    def learn(self, num_bytes: int, num_tokens: int) -> None:
        """A body of `num_bytes` had `num_tokens`."""
        if num_bytes and num_tokens:
            seen = min(max(num_bytes / num_tokens, 1.0), 16.0)
            self.bytes_per_token += _WEIGHT_OF_A_PASS * (seen - self.bytes_per_token)

"""How fast the model is, what a pass may therefore hold, and how much may wait; learned from the passes themselves."""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from operator import mul
from statistics import median

from surestep.serving.settings import ServeConfig

_MOST_OVERHEAD = 0.05
"""Of a pass, the share that is spent before its tokens count: where a pass of `pass_time_ms` would have more of it, it
has more tokens."""
_LONGEST_PASS = 2.0
"""In `pass_time_ms`: no pass is made longer than this for the sake of the overhead."""
_SIZES_PER_DOUBLING = 2
"""Passes of about one size are one point of the fit, their median."""
_OF_A_SIZE = 9
"""Passes of a size that are remembered."""
_RECENT = 9
"""Passes that say how much faster or slower the model is now than the fit."""
_WEIGHT_OF_A_BODY = 0.1
"""Of the newest body in the moving mean of bytes a token: the last ten or so decide."""
_LEAST_PER_TOKEN = 1e-9
"""Seconds a token where more tokens take no longer."""
_BYTES_PER_TOKEN = 4.0
"""Of a body before any was read: English in JSON."""


class Speed:
    """How long a pass takes: `overhead_s + seconds_per_token * tokens`, learned from the passes themselves.

    A GPU needs tens of milliseconds to start a pass of however few tokens. To take such a pass's tokens a second for
    its speed would make passes small, and keep them so.

    Passes of about one size give one point, the median of the last few, so that a pass that was held up moves nothing,
    and sizes that no longer come are not forgotten. The line through these points has the least squared error relative
    to the measured times; then it is moved as a whole by what the last passes took of it.

    Args:
        settings: how long a pass should take.
        most: tokens that the model allows in a pass.
        sizes: tokens up to which the model fills a pass, where it does; a budget is one of them.

    Attributes:
        overhead_s: of every pass; before the first, 0.
        seconds_per_token: above that; before the first pass, a guess that lets one request through.
    """

    def __init__(self, settings: ServeConfig, most: int, sizes: Sequence[int] = ()) -> None:
        self._settings = settings
        self._most = most
        self._sizes = sorted(sizes)
        self.overhead_s = 0.0
        self.seconds_per_token = settings.pass_time_ms / 1000 / settings.smallest_pass
        self._points: dict[int, deque[tuple[int, float]]] = {}
        self._recent: deque[tuple[int, float]] = deque(maxlen=_RECENT)

    @property
    def pass_time_s(self) -> float:
        """How long a pass may take: `pass_time_ms`, or longer where more than a twentieth of that is overhead."""
        wanted = self._settings.pass_time_ms / 1000
        return min(max(wanted, self.overhead_s / _MOST_OVERHEAD), _LONGEST_PASS * wanted)

    @property
    def pass_budget(self) -> int:
        """Tokens that fit in a pass."""
        wanted = round((self.pass_time_s - self.overhead_s) / self.seconds_per_token)
        wanted = max(1, min(max(wanted, self._settings.smallest_pass), self._most))
        if self._sizes and wanted <= self._sizes[-1]:
            wanted = max((size for size in self._sizes if size <= wanted), default=wanted)
        return wanted

    @property
    def tokens_per_s(self) -> float:
        """Of full passes, one after another."""
        return self.pass_budget / self._seconds_of_pass(self.pass_budget)

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
        if num_tokens < 1 or seconds <= 0:
            return
        size = round(_SIZES_PER_DOUBLING * math.log2(num_tokens))
        self._points.setdefault(size, deque(maxlen=_OF_A_SIZE)).append((num_tokens, seconds))
        self._recent.append((num_tokens, seconds))
        overhead, per_token = _fitted([_median_of(passes) for passes in self._points.values()])
        moved = median(seconds / (overhead + per_token * tokens) for tokens, seconds in self._recent)
        self.overhead_s, self.seconds_per_token = moved * overhead, moved * per_token

    def seconds_for(self, num_tokens: float) -> float:
        """How long so many tokens take, in as many passes as they fill."""
        if num_tokens <= 0:
            return 0.0
        return max(1.0, num_tokens / self.pass_budget) * self.overhead_s + num_tokens * self.seconds_per_token

    def _seconds_of_pass(self, num_tokens: int) -> float:
        return self.overhead_s + num_tokens * self.seconds_per_token


def _median_of(passes: Iterable[tuple[int, float]]) -> tuple[float, float]:
    """The middle number of tokens, and the seconds that go with it by the middle speed."""
    tokens = median(tokens for tokens, _ in passes)
    return tokens, tokens * median(seconds / tokens for tokens, seconds in passes)


def _fitted(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Overhead in seconds, and seconds a token, of the line through (tokens, seconds): neither is negative.

    The least sum of ((a + b n) / t - 1)^2; with one point, or where a line would begin below 0, proportional.

    >>> _fitted([(100.0, 3.0), (200.0, 5.0), (400.0, 9.0)])
    (1.0, 0.02)
    >>> _fitted([(100.0, 2.0)]), _fitted([(100.0, 1.0), (200.0, 3.0)])[0]
    ((0.0, 0.02), 0.0)
    """
    inverse, rates = [1 / t for _, t in points], [n / t for n, t in points]
    uu, uv, vv = (sum(map(mul, x, y)) for x, y in ((inverse, inverse), (inverse, rates), (rates, rates)))
    u, v = sum(inverse), sum(rates)
    determinant = uu * vv - uv * uv
    if len(points) > 1 and determinant > 1e-9 * uu * vv:
        overhead, per_token = (u * vv - v * uv) / determinant, (v * uu - u * uv) / determinant
        if per_token <= 0:  # no slower with more tokens, as far as was seen
            return u / uu, _LEAST_PER_TOKEN
        if overhead > 0:
            return round(overhead, 12), round(per_token, 12)
    return 0.0, v / vv


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
            self.bytes_per_token += _WEIGHT_OF_A_BODY * (seen - self.bytes_per_token)

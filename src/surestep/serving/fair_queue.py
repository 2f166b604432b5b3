"""Start-time fair queueing by tokens (Goyal, Vin and Cheng, 1996): no key waits because another sends much.

Each key has a queue of its own. Its next item starts at the virtual time at which its last one ended, or now where it
had nothing waiting; the item that starts first is served first, and its end is its start plus its tokens. Two keys that
both wait are therefore served the same number of tokens, to within one item of each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

_LOOKED_AT = 16
"""Items of one key that are looked at for one that still fits into a pass."""


class Sized(Protocol):
    """Whatever waits."""

    @property
    def num_tokens(self) -> int:
        """What it costs, at least 1."""
        ...


T = TypeVar("T", bound=Sized)


@dataclass
class _Lane(Generic[T]):
    """What waits of one key; `end` is the virtual time at which what was served of it ends."""

    end: float
    items: deque[T] = field(default_factory=deque)
    num_tokens: int = 0


class FairQueue(Generic[T]):
    """Items of several keys, taken in fair order.

    Attributes:
        num_tokens: of everything that waits.
        num_items: how many wait.
    """

    def __init__(self) -> None:
        self._lanes: dict[Hashable, _Lane[T]] = {}
        self._now = 0.0
        self.num_tokens = 0
        self.num_items = 0

    def push(self, key: Hashable, item: T) -> None:
        """Put an item behind those of its key."""
        lane = self._lanes.setdefault(key, _Lane(self._now))
        if not lane.items:
            # A key that had nothing waiting has saved nothing up.
            lane.end = max(lane.end, self._now)
        lane.items.append(item)
        lane.num_tokens += item.num_tokens
        self.num_tokens += item.num_tokens
        self.num_items += 1

    def discard(self, key: Hashable, item: T) -> bool:
        """Take one item out, whose client has gone, say; whether it was still there."""
        lane = self._lanes.get(key)
        if lane is None or not any(waiting is item for waiting in lane.items):
            return False
        lane.items = deque(waiting for waiting in lane.items if waiting is not item)
        self._forget(lane, item)
        self._drop_idle()
        return True

    def tokens_of(self, key: Hashable) -> int:
        """Tokens that wait of one key."""
        lane = self._lanes.get(key)
        return 0 if lane is None else lane.num_tokens

    def num_keys(self) -> int:
        """How many keys have something waiting."""
        return sum(bool(lane.items) for lane in self._lanes.values())

    def take(self, budget: int) -> list[T]:
        """The next items in fair order, at most `budget` tokens together; the first is always among them.

        One that does not fit is passed over for smaller ones, and is then the first, or among the first, of the next.
        """
        taken: list[T] = []
        size = 0
        open_lanes = {key: lane for key, lane in self._lanes.items() if lane.items}
        while open_lanes:
            key = min(open_lanes, key=lambda key: open_lanes[key].end)
            lane = open_lanes[key]
            item = self._first_that_fits(lane, budget - size if taken else None)
            if item is None:
                del open_lanes[key]
                continue
            self._now = max(self._now, lane.end)
            lane.end += item.num_tokens
            size += item.num_tokens
            taken.append(item)
            self._forget(lane, item)
            if not lane.items:
                del open_lanes[key]
        self._drop_idle()
        return taken

    def _first_that_fits(self, lane: _Lane[T], room: int | None) -> T | None:
        """Removed from its lane; `room` None: whatever its size."""
        for place, item in enumerate(lane.items):
            if place == _LOOKED_AT:
                return None
            if room is None or item.num_tokens <= room:
                del lane.items[place]
                return item
        return None

    def _forget(self, lane: _Lane[T], item: T) -> None:
        lane.num_tokens -= item.num_tokens
        self.num_tokens -= item.num_tokens
        self.num_items -= 1

    def _drop_idle(self) -> None:
        if self.num_items == 0:
            # Nobody waits: whoever comes next starts level with all others.
            self._lanes.clear()
            self._now = 0.0
            return
        self._lanes = {key: lane for key, lane in self._lanes.items() if lane.items or lane.end > self._now}

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
        self._due: tuple[Hashable, T] | None = None
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
        if not self._is_waiting(key, item):
            return False
        lane = self._lanes[key]
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

        The first one that does not fit is passed over for smaller ones, and is then the first of the next.
        """
        taken: list[T] = []
        size = 0
        open_lanes = {key: lane for key, lane in self._lanes.items() if lane.items}
        passed_over, self._due = self._due, None
        first_that_waits: tuple[Hashable, T] | None = None
        if passed_over is not None and self._is_waiting(*passed_over):
            key, item = passed_over
            open_lanes[key].items = deque(waiting for waiting in open_lanes[key].items if waiting is not item)
            size = self._serve(open_lanes[key], item)
            taken.append(item)
        while open_lanes := {key: lane for key, lane in open_lanes.items() if lane.items}:
            key = min(open_lanes, key=lambda key: open_lanes[key].end)
            lane = open_lanes[key]
            head = lane.items[0]
            item_or_none = self._first_that_fits(lane, budget - size if taken else None)
            if item_or_none is not head and first_that_waits is None:
                first_that_waits = key, head
            if item_or_none is None:
                del open_lanes[key]
                continue
            size += self._serve(lane, item_or_none)
            taken.append(item_or_none)
            if first_that_waits is not None:
                # It was its turn, and another went: without this, small items could pass a large one for ever.
                self._due = first_that_waits
        self._drop_idle()
        return taken

    def _is_waiting(self, key: Hashable, item: T) -> bool:
        lane = self._lanes.get(key)
        return lane is not None and any(waiting is item for waiting in lane.items)

    def _serve(self, lane: _Lane[T], item: T) -> int:
        """Count an item that was taken out of its lane; its tokens."""
        self._now = max(self._now, lane.end)
        lane.end += item.num_tokens
        self._forget(lane, item)
        return item.num_tokens

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

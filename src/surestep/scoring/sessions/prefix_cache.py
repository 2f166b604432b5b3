"""Which steps have been computed, and where their keys lie: a node for each step below the steps before it.

A node is found by a digest of its path, so a step that was computed below the same steps is found again, whoever asks
in the same namespace. Two namespaces never share a node. Knows token ids and slots; knows no tensor. Not safe to use
from several threads at once.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SlotArray = NDArray[np.int64]
Segment = tuple[int, ...]

PIN_SECONDS = 300.0
"""How long after its last use an open session's steps stay, whoever needs room."""

PINNED_SHARE = 0.5
"""The most of all room that pinned steps may keep from others."""


@dataclass(eq=False, slots=True)
class Node:
    """One computed step, or a problem.

    Attributes:
        namespace: whose it is.
        weights_mark: of the weights that computed it.
        digest: of its path.
        parent: the step before it; None for a problem.
        segment: its token ids.
        slots: where its keys and values lie, a slot for a token.
        raw: the model's own confidence of the step; NaN for a problem.
        end: tokens on the path to its end.
        last_used: seconds on the cache's clock.
        num_children, num_sessions, num_readers: nodes below it, sessions that stand at it, planned passes that read it.
        is_held: whether its slots are still its own.
        depth: nodes on the path to it, itself included.
    """

    namespace: bytes
    weights_mark: int
    digest: bytes
    parent: Node | None
    segment: Segment
    slots: SlotArray
    raw: float
    end: int
    last_used: float
    num_children: int = 0
    num_sessions: int = 0
    num_readers: int = 0
    is_held: bool = True
    depth: int = 1
    _path_slots: SlotArray | None = None

    def path(self) -> list[Node]:
        """The nodes from the problem down to this one."""
        nodes, node = [], self
        while node.parent is not None:
            nodes.append(node)
            node = node.parent
        return [node, *reversed(nodes)]

    def held(self) -> Node | None:
        """This node while it is held; else the nearest one above it that is."""
        node: Node | None = self
        while node is not None and not node.is_held:
            node = node.parent
        return node

    def path_slots(self) -> SlotArray:
        """The slots of all tokens from the start of the problem to the end of this step.

        Kept at the step where they were last asked for, so that those of a later one are not gathered anew: while a
        path grows by however many steps at a time, one step of it keeps them.
        """
        if self._path_slots is None:
            parts, above = [self.slots], self.parent
            while above is not None and above._path_slots is None:
                parts.append(above.slots)
                above = above.parent
            if above is not None and above._path_slots is not None:
                parts.append(above._path_slots)
                above._path_slots = None
            self._path_slots = np.concatenate(parts[::-1])
        return self._path_slots


class PrefixCache:
    """Nodes by digest.

    Args:
        free: told the slots of every node that goes.
        text_format: what else decides the token ids of a text: hashes of tokenizer and formatter.
        capacity: tokens that there is room for.
        keep_unused: leave nodes that no session needs until others need the room, instead of letting them go at once.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        free: Callable[[SlotArray], None],
        *,
        text_format: str = "",
        capacity: int,
        keep_unused: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.capacity = capacity
        self.weights_mark = 0
        self._free = free
        self._text_format = text_format.encode()
        self._keep_unused = keep_unused
        self._clock = clock
        self._nodes: dict[bytes, Node] = {}
        self._tokens: dict[bytes, int] = {}
        self._order = itertools.count()  # tells apart, in a heap, nodes that were used at the same time

    def __len__(self) -> int:
        """Nodes that are held."""
        return len(self._nodes)

    @property
    def num_tokens(self) -> int:
        """Tokens that are held."""
        return sum(self._tokens.values())

    def use_weights(self, mark: int) -> None:
        """What was computed with weights of another mark goes."""
        if mark != self.weights_mark:
            self.clear()
            self.weights_mark = mark

    def clear(self) -> None:
        """Let everything go."""
        for node in list(self._nodes.values()):
            self._remove(node)

    def longest(
        self, namespace: bytes, segments: Sequence[Segment], near: Node | None = None
    ) -> tuple[Node | None, int]:
        """The last of `segments` (the problem, then the steps below it) that is held with all before it.

        `near` is a node that may lie on the path: looked at first, it saves the digests of all above it.

        Returns:
            Its node, None where not even the problem is held; and how many segments that covers.
        """
        node: Node | None = None
        known = 0
        if near is not None and near.is_held and (near.namespace, near.weights_mark) == (namespace, self.weights_mark):
            above = [one.segment for one in near.path()]
            if above == [tuple(segment) for segment in segments[: len(above)]]:
                node, known = near, len(above)
        digest = self._root(namespace) if node is None else node.digest
        for count, segment in enumerate(segments[known:], known):
            digest = _digest(digest, segment)
            found = self._nodes.get(digest)
            # A digest that two paths share is out of the question; that their ids are compared makes it harmless.
            if found is None or found.segment != tuple(segment) or found.parent is not node:
                self._touch(node)
                return node, count
            node = found
        self._touch(node)
        return node, len(segments)

    def insert(self, namespace: bytes, parent: Node | None, segment: Segment, slots: SlotArray, raw: float) -> Node:
        """Hold a step that was computed below `parent`; a problem where that is None.

        Raises:
            ValueError: it is held already, or its parent no longer is.
        """
        if parent is not None and not parent.is_held:
            raise ValueError("the step before it is not held")
        digest = _digest(self._root(namespace) if parent is None else parent.digest, segment)
        if digest in self._nodes:
            raise ValueError("the step is held already")
        end = len(segment) + (parent.end if parent is not None else 0)
        node = Node(
            namespace, self.weights_mark, digest, parent, tuple(segment), slots, raw, end, last_used=self._clock()
        )
        if parent is not None:
            node.depth = parent.depth + 1
            parent.num_children += 1
        self._nodes[digest] = node
        self._tokens[namespace] = self._tokens.get(namespace, 0) + len(slots)
        return node

    def attach(self, node: Node) -> None:
        """A session stands at this node now."""
        node.num_sessions += 1

    def detach(self, node: Node) -> None:
        """A session has left this node; it goes, with those above it, where nobody needs them.

        Of a node that had to go before, sessions stand at the nearest one above it (`Node.held`).
        """
        held = node.held()
        if held is not None:
            held.num_sessions -= 1
            if not self._keep_unused:
                self._remove_unused(held)

    def drop_unused(self) -> None:
        """Let go of what no session needs, unless that is kept for others."""
        if not self._keep_unused:
            for node in list(self._nodes.values()):
                self._remove_unused(node)

    def make_room(self, count: int) -> int:
        """Let leaves go until at least `count` tokens are, the least recently used first; how many went.

        Whoever holds most gives first. Steps of sessions that were used in the last `PIN_SECONDS` go only where such
        steps fill more than `PINNED_SHARE` of all room; what a planned pass reads never goes.
        """
        freed = self._evict(count, allowance=None)
        if freed < count:
            pinned = {id(above): len(above.slots) for node in self._pinned() for above in node.path()}
            freed += self._evict(count - freed, allowance=sum(pinned.values()) - int(self.capacity * PINNED_SHARE))
        return freed

    def _evict(self, count: int, *, allowance: int | None) -> int:
        """Up to `count` tokens of unpinned leaves; of pinned ones as well, up to `allowance`, where that is given."""
        heaps: dict[bytes, list[tuple[float, int, Node]]] = {}

        def consider(node: Node) -> None:
            if not (node.num_children or node.num_readers) and (allowance is not None or not self._is_pinned(node)):
                entry = node.last_used, next(self._order), node
                heapq.heappush(heaps.setdefault(node.namespace, []), entry)

        for node in self._nodes.values():
            consider(node)
        freed = 0
        while freed < count and heaps and (allowance is None or freed < allowance):
            namespace = max(heaps, key=lambda name: self._tokens[name])
            _, _, node = heapq.heappop(heaps[namespace])
            if not heaps[namespace]:
                del heaps[namespace]
            self._remove(node)
            freed += len(node.slots)
            if node.parent is not None:
                consider(node.parent)
        return freed

    def _pinned(self) -> Iterator[Node]:
        return (node for node in self._nodes.values() if self._is_pinned(node))

    def _is_pinned(self, node: Node) -> bool:
        return node.num_sessions > 0 and self._clock() - node.last_used < PIN_SECONDS

    def _touch(self, node: Node | None) -> None:
        now = self._clock()
        while node is not None:
            node.last_used = now
            node = node.parent

    def _remove_unused(self, node: Node | None) -> None:
        while node is not None and node.is_held and not (node.num_children or node.num_sessions or node.num_readers):
            self._remove(node)
            node = node.parent

    def _remove(self, node: Node) -> None:
        del self._nodes[node.digest]
        node.is_held = False
        node._path_slots = None  # a session may hold the node for as long as it is open
        if node.parent is not None:
            node.parent.num_children -= 1
            node.parent.num_sessions += node.num_sessions
        left = self._tokens[node.namespace] - len(node.slots)
        if left:
            self._tokens[node.namespace] = left
        else:
            del self._tokens[node.namespace]
        self._free(node.slots)

    def _root(self, namespace: bytes) -> bytes:
        """What the digest of a problem begins with: whose it is, and what decides its tokens and its keys."""
        digest = hashlib.blake2b(digest_size=32)
        for part in (namespace, self._text_format, str(self.weights_mark).encode()):
            digest.update(len(part).to_bytes(8, "little") + part)
        return digest.digest()


def _digest(parent: bytes, segment: Segment) -> bytes:
    """Of a path, from the digest of the path above it: as long whatever was hashed, so no cut is like another."""
    return hashlib.blake2b(parent + np.array(segment, dtype="<i8").tobytes(), digest_size=32).digest()

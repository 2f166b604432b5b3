"""Steps are found again below the same steps and nowhere else, and go in the order in which they are missed least."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.scoring.sessions.prefix_cache import PIN_SECONDS, Node, PrefixCache

Path = tuple[tuple[int, ...], ...]

segments = st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple)
paths = st.lists(segments, min_size=1, max_size=4).map(tuple)


class Store:
    """A cache with its slots and its clock."""

    def __init__(self, capacity: int = 1000, *, keep_unused: bool = True) -> None:
        self.now = 0.0
        self.out: set[int] = set()
        self.count = 0
        self.cache = PrefixCache(self.free, capacity=capacity, keep_unused=keep_unused, clock=lambda: self.now)

    def free(self, slots: np.ndarray) -> None:
        assert set(slots.tolist()) <= self.out, "nothing is freed twice"
        self.out -= set(slots.tolist())

    def hold(self, path: Sequence[tuple[int, ...]], namespace: bytes = b"") -> Node:
        """The node at the end of a path, what lacks put in."""
        node, count = self.cache.longest(namespace, path)
        for segment in path[count:]:
            slots = np.arange(self.count, self.count + len(segment))
            self.count += len(segment)
            self.out |= set(slots.tolist())
            node = self.cache.insert(namespace, node, segment, slots, 0.5)
        assert node is not None
        return node


@given(st.lists(st.tuples(st.sampled_from([b"", b"a", b"b"]), paths), min_size=1, max_size=8))
def test_a_path_is_found_by_its_steps_in_its_namespace_and_not_by_its_tokens(
    entries: list[tuple[bytes, Path]],
) -> None:
    """The same tokens cut into other steps are another path; so is another namespace's."""
    store = Store()
    known: dict[tuple[bytes, Path], Node] = {}
    for namespace, path in entries:
        node = store.hold(path, namespace)
        assert node.path_slots().tolist() == [slot for above in node.path() for slot in above.slots.tolist()]
        for length in range(1, len(path) + 1):
            found, count = store.cache.longest(namespace, path[:length])
            assert found is not None
            assert count == length
            assert known.setdefault((namespace, path[:length]), found) is found
            assert found.end == sum(map(len, path[:length]))
    assert len({node.digest for node in known.values()}) == len(known) == len(store.cache)
    for namespace in (b"", b"a", b"b"):
        for _, path in entries:
            held = [length for length in range(1, len(path) + 1) if (namespace, path[:length]) in known]
            assert store.cache.longest(namespace, path)[1] == max(held, default=0)
    assert store.cache.num_tokens == len(store.out)
    store.cache.clear()
    assert not store.out
    assert len(store.cache) == 0


@given(st.lists(st.integers(1, 3), min_size=1, max_size=8))
def test_one_step_of_a_path_that_grows_keeps_its_slots_and_none_once_it_is_let_go(growth: list[int]) -> None:
    store = Store()
    path: Path = ()
    for count in growth:
        path += tuple((len(path) + number,) for number in range(count))
        node = store.hold(path)
        assert node.path_slots().tolist() == list(range(len(path)))
        assert [above for above in node.path() if above._path_slots is not None] == [node]
    store.cache.clear()
    assert all(above._path_slots is None for above in node.path())


def test_joining_namespace_and_format_otherwise_gives_other_nodes() -> None:
    def root(namespace: bytes, text_format: str) -> bytes:
        cache = PrefixCache(lambda _: None, text_format=text_format, capacity=10)
        return cache.insert(namespace, None, (1,), np.array([0]), 0.5).digest

    assert len({root(b"a", "bc"), root(b"ab", "c"), root(b"", "abc"), root(b"abc", ""), root(b"a", "b")}) == 5


def test_other_weights_find_nothing_of_what_was_computed_before() -> None:
    store = Store()
    before = store.hold([(1, 2), (3,)])
    store.cache.use_weights(7)
    assert not before.is_held
    assert not store.out
    assert store.cache.longest(b"", [(1, 2)]) == (None, 0)
    after = store.hold([(1, 2), (3,)])
    assert after.digest != before.digest
    assert after.weights_mark == 7
    store.cache.use_weights(7)
    assert after.is_held


def test_a_session_that_leaves_takes_what_nobody_else_needs() -> None:
    store = Store(keep_unused=False)
    first, second = store.hold([(1,), (2,), (3,)]), store.hold([(1,), (2,), (4,)])
    store.cache.attach(first)
    store.cache.attach(second)
    store.cache.detach(first)
    assert [node.is_held for node in (*second.path(), first)] == [True, True, True, False]
    store.cache.detach(second)
    assert not store.out
    kept = Store(keep_unused=True)
    node = kept.hold([(1,), (2,)])
    kept.cache.attach(node)
    kept.cache.detach(node)
    assert node.is_held


def test_what_no_session_needs_is_dropped_when_asked_for() -> None:
    store = Store(keep_unused=False)
    needed, unneeded = store.hold([(1,), (2,)]), store.hold([(1,), (3,), (4,)])
    store.cache.attach(needed)
    store.cache.drop_unused()
    assert needed.is_held
    assert len(store.cache) == 2
    assert not unneeded.is_held


def test_leaves_go_first_by_their_last_use_and_no_step_before_those_below_it() -> None:
    store = Store()
    for now, path in enumerate([[(1,), (2,)], [(1,), (3,)], [(4,)]]):
        store.now = now
        store.hold(path)
    store.now = 10
    store.cache.longest(b"", [(1,), (2,)])
    order = []
    while len(store.cache):
        before = dict(store.cache._nodes)
        assert store.cache.make_room(1) == 1
        (gone,) = [node for key, node in before.items() if key not in store.cache._nodes]
        order.append(gone.segment)
    assert order == [(3,), (4,), (2,), (1,)]
    assert store.cache.make_room(1) == 0


def test_who_holds_most_gives_first() -> None:
    store = Store()
    large = [store.hold([(1, number)], b"large") for number in range(3)]
    store.now = -5  # used longest ago, and yet
    small = store.hold([(2,)], b"small")
    assert store.cache.make_room(2) == 2
    assert small.is_held
    assert not large[0].is_held
    store.cache.make_room(2)
    assert small.is_held
    assert [node.is_held for node in large] == [False, False, True]


def test_open_sessions_stay_for_a_while_and_keep_at_most_half_of_the_room() -> None:
    store = Store(capacity=10)
    pinned = [store.hold([(number, 0, 0)]) for number in range(3)]
    for node in pinned:
        store.cache.attach(node)
    loose = store.hold([(9,)])
    assert store.cache.make_room(1) == 1
    assert not loose.is_held, "what no session stands at goes first"
    assert store.cache.make_room(9) == 6, "9 of 10 tokens are pinned; the rest is no more than half"
    assert [node.is_held for node in pinned] == [False, False, True]
    assert store.cache.make_room(1) == 0
    store.now = PIN_SECONDS + 1
    assert store.cache.make_room(1) == 3, "an old pin holds nothing"


def test_what_a_planned_pass_reads_stays() -> None:
    store = Store()
    node = store.hold([(1,), (2,)])
    node.num_readers = 1
    store.now = 1e6
    assert store.cache.make_room(5) == 0
    node.num_readers = 0
    assert store.cache.make_room(5) == 2


def test_a_step_is_held_once_and_below_held_steps_only() -> None:
    store = Store()
    node = store.hold([(1,), (2,)])
    with pytest.raises(ValueError, match="held already"):
        store.cache.insert(b"", node.parent, (2,), np.array([8]), 0.5)
    store.cache.clear()
    with pytest.raises(ValueError, match="not held"):
        store.cache.insert(b"", node, (3,), np.array([8]), 0.5)


@given(st.lists(paths, min_size=1, max_size=6), st.data())
def test_the_slots_of_a_path_are_those_of_its_steps_in_whatever_order_nodes_are_asked(
    entries: list[Path], data: st.DataObject
) -> None:
    """They are kept where they were asked for last, and handed on to the next step: forks go back and forth."""
    store = Store()
    nodes = [node for path in entries for node in store.hold(path).path()]
    for node in data.draw(st.lists(st.sampled_from(nodes), max_size=10)):
        assert node.path_slots().tolist() == [slot for above in node.path() for slot in above.slots.tolist()]
        assert node.depth == len(node.path())
    store.cache.clear()
    assert all(node._path_slots is None for node in nodes), "a node that went keeps nothing"

"""Keys that wait are served the same number of tokens, whatever they send and in whatever order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from surestep.serving.fair_queue import FairQueue


@dataclass(frozen=True, eq=False)
class Item:
    key: str
    num_tokens: int


def filled(*items: Item) -> FairQueue[Item]:
    queue: FairQueue[Item] = FairQueue()
    for item in items:
        queue.push(item.key, item)
    return queue


ITEMS = st.lists(st.builds(Item, st.sampled_from("abc"), st.integers(1, 300)), max_size=60)


@given(ITEMS, st.integers(1, 500))
def test_everything_comes_out_once_within_the_budget(items: list[Item], budget: int) -> None:
    queue = filled(*items)
    taken: list[Item] = []
    while queue.num_items:
        part = queue.take(budget)
        assert len(part) == 1 or sum(item.num_tokens for item in part) <= budget
        taken += part
        assert queue.num_tokens == sum(item.num_tokens for item in items) - sum(item.num_tokens for item in taken)
    assert Counter(map(id, taken)) == Counter(map(id, items))
    assert queue.take(budget) == []


@given(st.lists(st.integers(1, 300), min_size=5, max_size=80), st.lists(st.integers(1, 300), min_size=5, max_size=80))
def test_two_keys_that_both_wait_are_served_alike(a: list[int], b: list[int]) -> None:
    """To within one item of each (Goyal, Vin and Cheng, 1996, theorem 1), where each pass has one item."""
    queue = filled(*(Item("a", size) for size in a), *(Item("b", size) for size in b))
    served = Counter(a=0, b=0)
    while queue.tokens_of("a") and queue.tokens_of("b"):
        (item,) = queue.take(1)
        served[item.key] += item.num_tokens
        assert abs(served["a"] - served["b"]) <= max(a) + max(b)


@given(ITEMS, st.integers(300, 600))
def test_a_key_that_comes_to_a_full_queue_waits_for_one_turn_of_each(items: list[Item], budget: int) -> None:
    """Whatever waits of others: before the newcomer they get at most a pass, and an item each."""
    queue = filled(*items)
    queue.take(budget)
    newcomer = Item("new", 10)
    queue.push("new", newcomer)
    before = 0
    while newcomer not in (part := queue.take(budget)):
        before += sum(item.num_tokens for item in part)
    assert before <= budget + 3 * 300


def test_a_key_saves_nothing_up_while_it_has_nothing_waiting() -> None:
    queue = filled(*(Item("a", 100) for _ in range(50)), Item("b", 1))
    for _ in range(30):
        queue.take(1)
    for _ in range(50):
        queue.push("b", Item("b", 100))
    assert {item.key for item in queue.take(400)} == {"a", "b"}


def test_what_does_not_fit_is_passed_over_once() -> None:
    large, small = Item("a", 900), Item("a", 50)
    queue = filled(Item("a", 500), large, small)
    assert small in queue.take(600)
    assert queue.take(600) == [large]


def test_an_item_can_be_taken_out() -> None:
    one, other = Item("a", 5), Item("a", 7)
    queue = filled(one, other)
    assert queue.discard("a", one)
    assert not queue.discard("a", one)
    assert not queue.discard("nobody", one)
    assert (queue.num_tokens, queue.tokens_of("a"), queue.num_keys()) == (7, 7, 1)
    assert queue.take(100) == [other]


@given(st.integers(1, 100), st.integers(1, 100), st.integers(1, 100), st.booleans())
def test_small_items_that_keep_coming_never_starve_a_large_one(
    own: int, other: int, large: int, is_first: bool
) -> None:
    queue: FairQueue[Item] = FairQueue()
    waiting = Item("a", large)
    if is_first:
        queue.push("a", waiting)
    for _ in range(10):
        queue.push("b", Item("b", other))
    if not is_first:
        queue.push("a", waiting)
    for _ in range(10):
        queue.push("a", Item("a", own))
    for _ in range(4):
        part = queue.take(100)
        if waiting in part:
            return
        for item in part:
            queue.push(item.key, Item(item.key, item.num_tokens))
    raise AssertionError("the large item was passed over pass after pass")

"""The lists of blocks that the attention kernel walks, against the mask itself."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dense_mask import dense_mask
from strategies import encoded_tree
from surestep.encoding.packing import pack_trees
from surestep.model.attention.block_lists import (
    KEY_BLOCK,
    QUERY_BLOCK,
    block_lists,
    most_listed,
    num_blocks,
    pooled_block_lists,
)
from surestep.model.attention.prepared_mask import prepare_mask
from surestep.scoring.model_scorer import to_batch


def walked(lists: Tensor, num_tokens: int) -> list[list[list[int]]]:
    """Where blocks of queries begin, and for each of them what lists a and b hold; the same of keys, c and d."""
    found, at = [], 0
    for count in num_blocks(num_tokens):
        begins, *starts = (lists[at + part * (count + 1) :][: count + 1].tolist() for part in range(3))
        found += [[begins], *([lists[one[i] : one[i + 1]].tolist() for i in range(count)] for one in starts)]
        at += 3 * (count + 1)
    return found


def random_ends(seed: int) -> Tensor:
    rng = random.Random(seed)
    trees = []
    for _ in range(rng.randint(1, 4)):
        count = rng.randint(1, 12)
        parents = [-1] + [rng.randint(max(0, n - 3), n - 1) for n in range(1, count)]
        path: list[int] = []
        for node in range(count):  # preorder: a parent is on the path to the node before
            while path and parents[node] not in path:
                parents[node] = path[-1]
            path = [*path[: path.index(parents[node]) + 1], node] if path else [0]
        trees.append(encoded_tree(parents, [rng.choice([1, 7, 32, 64, 130]) for _ in parents], [1.0] * count, rng))
    return to_batch(pack_trees(trees)).padded(rng.choice([128, 512])).subtree_end_P


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_queries_anywhere_on_the_axis_list_what_they_see(seed: int, share: float) -> None:
    """Of a pass below held tokens: some tokens of an axis ask, the others are only seen."""
    ends, draw = random_ends(seed), random.Random(seed)
    num_keys = len(ends)
    asked = [place for place in range(num_keys) if draw.random() < share]
    # What fills up the last block stands behind the axis, where nobody else looks.
    padding = -len(asked) % QUERY_BLOCK or (0 if asked else QUERY_BLOCK)
    axis = torch.cat([ends, torch.arange(num_keys + 1, num_keys + 1 + padding)])
    axis = torch.nn.functional.pad(axis, (0, -len(axis) % KEY_BLOCK))
    index = torch.tensor([*asked, *range(num_keys, num_keys + padding)])
    sees = dense_mask(axis, torch.zeros_like(axis))[index]
    tiles = sees.view(len(index) // QUERY_BLOCK, QUERY_BLOCK, len(axis) // KEY_BLOCK, KEY_BLOCK)
    # A block that a query stands in itself is never taken for seen in full, be the query its last place.
    stands_in = torch.nn.functional.one_hot(index // KEY_BLOCK, len(axis) // KEY_BLOCK).bool()
    some = tiles.any(dim=3).any(dim=1)
    every = tiles.all(dim=3).all(dim=1) & ~stands_in.view(-1, QUERY_BLOCK, len(axis) // KEY_BLOCK).any(dim=1)
    lists = pooled_block_lists(axis, index)
    starts, count = lists.tolist(), len(index) // QUERY_BLOCK
    assert starts[: count + 1] == [QUERY_BLOCK * q for q in range(count + 1)]
    for first, mask in ((count + 1, some & ~every), (2 * count + 2, every)):
        found = [lists[starts[first + q] : starts[first + q + 1]].tolist() for q in range(count)]
        assert found == [(row.nonzero().flatten() * KEY_BLOCK).tolist() for row in mask]
    assert len(lists) == 3 * (count + 1) + int(some.sum())


def tree_edges(ends: Tensor) -> set[int]:
    reached = ends.cummax(0).values.tolist()
    return {0} | {end for place, end in enumerate(reached) if end == place + 1}


@given(st.integers(0, 10_000))
def test_blocks_are_parts_of_a_tree_or_whole_trees(seed: int) -> None:
    """So what a kernel reads behind a block that is not full is another tree's."""
    ends = random_ends(seed)
    queries, _, _, keys, _, _ = walked(block_lists(ends), len(ends))
    for (begins,), size in ((queries, QUERY_BLOCK), (keys, KEY_BLOCK)):
        assert begins[0] == 0 and begins[-1] == len(ends)
        for start, stop in itertools.pairwise(begins):
            assert 0 < stop - start <= size or start == stop == len(ends)
            assert stop - start in (0, size) or stop in tree_edges(ends)
    assert set(keys[0]) <= set(queries[0]), "a block of queries lies within one of keys"


@given(st.integers(0, 10_000))
def test_a_block_is_listed_iff_something_in_it_is_seen(seed: int) -> None:
    ends = random_ends(seed)
    lists = block_lists(ends)
    queries, *by_query, keys, by_key, by_key_in_full = walked(lists, len(ends))
    sees = dense_mask(ends, torch.zeros_like(ends))
    expected: list[dict[int, list[int]]] = [{} for _ in range(4)]
    for query, query_stop in itertools.pairwise(queries[0]):
        for key, key_stop in itertools.pairwise(keys[0]):
            tile = sees[query:query_stop, key:key_stop]
            if tile.any():
                # What is read behind a block that is not full has to be masked.
                in_full = bool(tile.all()) and tile.shape == (QUERY_BLOCK, KEY_BLOCK)
                expected[in_full].setdefault(query, []).append(key)
                expected[2 + in_full].setdefault(key, []).append(query)
    for begins, found, wanted in zip(
        [queries[0]] * 2 + [keys[0]] * 2, [*by_query, by_key, by_key_in_full], expected, strict=True
    ):
        places = range(len(begins) - 1)
        assert found == [wanted.get(begins[i], []) if begins[i] < begins[i + 1] else [] for i in places]
    assert len(lists) <= most_listed(len(ends))


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60))
def test_lists_of_chains_of_any_lengths_have_room(lengths: list[int]) -> None:
    ends = torch.repeat_interleave(torch.tensor(lengths).cumsum(0), torch.tensor(lengths))
    ends = torch.cat([ends, torch.arange(len(ends) + 1, len(ends) - len(ends) % -128 + 1)])
    lists = block_lists(ends)
    assert len(lists) <= most_listed(len(ends))
    begins = walked(lists, len(ends))[3][0]
    # As soon as there are places enough, a tree that does not fit with the one before it begins a block.
    needed = sum(-(-length // KEY_BLOCK) for length in lengths) + 2
    if needed <= num_blocks(len(ends))[1] and min(lengths) > KEY_BLOCK:
        assert set(begins) >= set([0, *itertools.accumulate(lengths)][:-1])


def test_many_short_trees_take_no_more_places_than_there_are() -> None:
    """Two of 65 tokens would take two blocks each: then blocks begin at whole ones, wherever trees do."""
    ends = torch.arange(1, 15).repeat_interleave(65) * 65
    ends = torch.cat([ends, torch.arange(len(ends) + 1, 1025)])
    assert walked(block_lists(ends), 1024)[3][0][:17] == list(range(0, 1025, KEY_BLOCK))


def test_chains_that_begin_their_own_blocks_are_gone_through_in_fewer() -> None:
    lengths = torch.tensor([240] * 68)
    chains = torch.cat([lengths.cumsum(0).repeat_interleave(lengths), torch.arange(16321, 16385)])
    queries, a, b, *_ = walked(block_lists(chains), 16384)
    # Eight blocks of queries see one to four of keys; the padding, a tree for each token, takes one more of each.
    assert sum(map(len, a + b)) == 68 * 2 * (1 + 2 + 3 + 4) + 2
    assert len(set(queries[0])) == 68 * 8 + 2 + 1


def test_a_pack_that_is_not_padded_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 128"):
        block_lists(torch.tensor([5] * 5))


def test_a_plan_for_the_kernel_holds_the_padded_pack() -> None:
    tree = encoded_tree([-1, 0, 0], [30, 20, 25], [None, 1.0, 0.0], random.Random(0))
    plan = prepare_mask(to_batch(pack_trees([tree])), "triton")
    assert plan.kernel_mask is not None
    assert len(plan.batch.tokens_P) == 128
    assert plan.kernel_mask.subtree_end_P.tolist()[:75] == [75] * 30 + [50] * 20 + [75] * 25
    assert plan.kernel_mask.positions_P.dtype == plan.kernel_mask.lists.dtype == torch.int32
    moved = plan.to(torch.device("cpu"))
    assert moved.kernel_mask is not None
    assert torch.equal(moved.kernel_mask.lists, plan.kernel_mask.lists)

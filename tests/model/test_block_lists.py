"""The lists of blocks that the attention kernel walks, against the mask itself."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dense_mask import dense_mask
from strategies import encoded_tree
from surestep.encoding.packing import pack_trees
from surestep.model.attention.block_lists import KEY_BLOCK, QUERY_BLOCK, SEEN_BLOCK, block_lists, pooled_block_lists
from surestep.model.attention.prepared_mask import PassShape, prepare_mask
from surestep.scoring.model_scorer import to_batch


def walked(lists: Tensor, num_tokens: int) -> list[list[list[int]]]:
    """For each of the four lists, the blocks that each block looks at."""
    num_queries, num_keys = num_tokens // QUERY_BLOCK, num_tokens // KEY_BLOCK
    found, at = [], 0
    for count in (num_queries, num_queries, num_keys, num_keys):
        starts = lists[at : at + count + 1].tolist()
        found.append([lists[starts[i] : starts[i + 1]].tolist() for i in range(count)])
        at += count + 1
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
    return to_batch(pack_trees(trees)).padded(128).subtree_end_P


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
    for first, mask in ((0, some & ~every), (count + 1, every)):
        found = [lists[starts[first + q] : starts[first + q + 1]].tolist() for q in range(count)]
        assert found == [row.nonzero().flatten().tolist() for row in mask]
    assert len(lists) == 2 * (count + 1) + int(some.sum())


@given(st.integers(0, 10_000))
def test_a_block_is_listed_iff_something_in_it_is_seen(seed: int) -> None:
    ends = random_ends(seed)
    num_tokens = len(ends)
    sees, num_queries = dense_mask(ends, torch.zeros_like(ends)), num_tokens // QUERY_BLOCK
    expected = []
    for size in (SEEN_BLOCK, KEY_BLOCK):
        tiles = sees.view(num_queries, QUERY_BLOCK, num_tokens // size, size)
        some, every = tiles.any(dim=3).any(dim=1), tiles.all(dim=3).all(dim=1)
        pair = some & ~every, every
        expected += [part if size == SEEN_BLOCK else part.T for part in pair]
    lists = block_lists(ends)
    for found, mask in zip(walked(lists, num_tokens), expected, strict=True):
        assert found == [row.nonzero().flatten().tolist() for row in mask]
    assert len(lists) <= PassShape(num_tokens).num_listed


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

"""Packs hold every token and label once, and their two numbers say who is whose ancestor."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import CONFIDENCE_ID, encoded_trees, trees
from surestep.encoding.encoded_tree import EncodedTree, encode_problem, encode_steps, encode_trees
from surestep.encoding.formatter import Formatter
from surestep.encoding.packing import Pack, pack_trees, plan_packs, subtree_ends
from surestep.encoding.tiny_tokenizer import build_tiny_tokenizer
from surestep.encoding.tokenizer import StepTokenizer
from surestep.types import ReasoningTree

tree_lists = st.lists(encoded_trees(), min_size=1, max_size=5)


def node_of_token(tree: EncodedTree) -> list[int]:
    return [node for node in range(tree.num_nodes) for _ in range(int(np.diff(tree.offsets)[node]))]


def is_ancestor_or_self(tree: EncodedTree, ancestor: int, node: int) -> bool:
    while node != -1:
        if node == ancestor:
            return True
        node = int(tree.parent_N[node])
    return False


def sees_by_definition(trees: list[EncodedTree]) -> np.ndarray:
    """bool [P, P]: key is the query itself, or an earlier token of its node or of an ancestor node."""
    places = [(number, node) for number, tree in enumerate(trees) for node in node_of_token(tree)]
    size = len(places)
    seen = np.zeros((size, size), bool)
    for q, (query_tree, query_node) in enumerate(places):
        for k, (key_tree, key_node) in enumerate(places[: q + 1]):
            seen[q, k] = query_tree == key_tree and is_ancestor_or_self(trees[query_tree], key_node, query_node)
    return seen


def sees_by_formula(pack: Pack) -> np.ndarray:
    index = np.arange(pack.num_tokens)
    return (index[None, :] <= index[:, None]) & (index[:, None] < pack.subtree_end_P[None, :])


@given(tree_lists)
def test_the_two_numbers_say_exactly_who_is_an_ancestor(trees: list[EncodedTree]) -> None:
    np.testing.assert_array_equal(sees_by_formula(pack_trees(trees)), sees_by_definition(trees))


@given(tree_lists)
def test_position_is_the_number_of_tokens_in_front_on_the_path(trees: list[EncodedTree]) -> None:
    pack = pack_trees(trees)
    np.testing.assert_array_equal(pack.positions_P, sees_by_definition(trees).sum(1) - 1)


@given(tree_lists)
def test_every_token_and_label_is_packed_once_and_in_order(trees: list[EncodedTree]) -> None:
    pack = pack_trees(trees)
    np.testing.assert_array_equal(pack.tokens_P, np.concatenate([tree.tokens_T for tree in trees]))
    wanted = [(number, tree, node) for number, tree in enumerate(trees) for node in range(tree.num_nodes)]
    wanted = [(number, tree, node) for number, tree, node in wanted if not np.isnan(tree.label_N[node])]
    assert pack.tree_S.tolist() == [number for number, _, _ in wanted]
    assert pack.source_S.tolist() == [int(tree.source_N[node]) for _, tree, node in wanted]
    assert pack.labels_S.tolist() == [float(tree.label_N[node]) for _, tree, node in wanted]


@given(tree_lists)
def test_every_step_is_read_at_its_confidence_token(trees: list[EncodedTree]) -> None:
    pack = pack_trees(trees, every_step=True)
    assert len(pack.label_index_S) == sum(tree.num_nodes - 1 for tree in trees)
    assert (pack.tokens_P[pack.label_index_S] == CONFIDENCE_ID).all()
    starts = pack.tree_starts[pack.tree_S]
    assert ((pack.label_index_S >= starts) & (pack.label_index_S < pack.tree_starts[pack.tree_S + 1])).all()


@given(encoded_trees())
def test_subtree_ends_are_where_the_last_descendant_ends(tree: EncodedTree) -> None:
    ends = subtree_ends(tree.parent_N, tree.offsets)
    for node in range(tree.num_nodes):
        below = [other for other in range(tree.num_nodes) if is_ancestor_or_self(tree, node, other)]
        assert ends[node] == max(tree.offsets[other + 1] for other in below)


@given(st.lists(st.integers(0, 30), max_size=30), st.integers(1, 40))
def test_a_plan_holds_every_item_once_and_keeps_the_budget(sizes: list[int], budget: int) -> None:
    packs = plan_packs(sizes, budget)
    assert sorted(item for pack in packs for item in pack) == list(range(len(sizes)))
    for pack in packs:
        assert pack
        assert len(pack) == 1 or sum(sizes[item] for item in pack) <= budget


@given(st.lists(st.integers(1, 30), min_size=1, max_size=30), st.integers(30, 60))
def test_a_plan_leaves_at_most_one_pack_half_empty(sizes: list[int], budget: int) -> None:
    fills = [sum(sizes[item] for item in pack) for pack in plan_packs(sizes, budget)]
    assert sum(fill * 2 <= budget for fill in fills) <= 1, "two half-empty packs would have been one"


def test_no_trees_make_an_empty_pack() -> None:
    pack = pack_trees([])
    assert pack.num_tokens == 0
    assert pack.tree_starts.tolist() == [0]


@given(tree_lists)
def test_what_stands_below_the_problem_is_packed_as_it_is_in_the_whole_tree(trees: list[EncodedTree]) -> None:
    """Trees of several roots, none or one among them, whose positions begin behind the problem."""
    whole = pack_trees(trees, every_step=True)
    heads = [int(tree.offsets[1]) for tree in trees]
    below = [
        EncodedTree(
            tree.tokens_T[head:], tree.offsets[1:] - head, tree.parent_N[1:] - 1, tree.label_N[1:], tree.source_N[1:]
        )
        for tree, head in zip(trees, heads, strict=True)
    ]
    pack = pack_trees(below, every_step=True, first_positions=heads)
    is_below = np.ones(whole.num_tokens, bool)
    for start, head in zip(whole.tree_starts[:-1], heads, strict=True):
        is_below[start : start + head] = False
    for name in ("tokens_P", "positions_P"):
        np.testing.assert_array_equal(getattr(pack, name), getattr(whole, name)[is_below])
    np.testing.assert_array_equal(sees_by_formula(pack), sees_by_formula(whole)[np.ix_(is_below, is_below)])
    np.testing.assert_array_equal(np.flatnonzero(is_below)[pack.label_index_S], whole.label_index_S)


@pytest.fixture(scope="module")
def tokenizer() -> StepTokenizer:
    return StepTokenizer(build_tiny_tokenizer())


@given(tree=trees())
def test_steps_without_their_problem_are_the_tokens_that_they_are_in_a_tree(
    tokenizer: StepTokenizer, tree: ReasoningTree
) -> None:
    formatter = Formatter()
    (encoded,) = encode_trees([tree], tokenizer, formatter)
    nodes = np.split(encoded.tokens_T, encoded.offsets[1:-1])
    assert nodes[0].tolist() == list(encode_problem(tree.problem, tokenizer, formatter))
    steps = encode_steps([(node.text, node.context) for node in tree.nodes], tokenizer, formatter)
    assert [nodes[place].tolist() for place in np.argsort(encoded.source_N)[1:]] == [list(step) for step in steps]

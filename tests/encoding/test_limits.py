"""Limits drop whole subtrees and count them; cutting loses and repeats nothing."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from strategies import encoded_tree, encoded_trees
from surestep.encoding.encoded_tree import EncodedTree
from surestep.encoding.limits import LimitLoss, cut_tree, limit_tree

limits = st.one_of(st.none(), st.integers(1, 40))


def path(tree: EncodedTree, node: int) -> list[int]:
    nodes = []
    while node != -1:
        nodes.append(node)
        node = int(tree.parent_N[node])
    return nodes[::-1]


def path_tokens(tree: EncodedTree, node: int) -> list[int]:
    pieces = [tree.tokens_T[tree.offsets[n] : tree.offsets[n + 1]] for n in path(tree, node)]
    return np.concatenate(pieces).tolist()


def by_source(tree: EncodedTree) -> dict[int, int]:
    return {int(source): node for node, source in enumerate(tree.source_N) if node and source >= 0}


@given(encoded_trees(), limits, limits)
def test_exactly_the_steps_within_both_limits_remain(
    tree: EncodedTree, max_length: int | None, max_steps: int | None
) -> None:
    limited, _ = limit_tree(tree, max_length=max_length, max_steps=max_steps)
    fits = {
        int(tree.source_N[node])
        for node in range(1, tree.num_nodes)
        if (max_length is None or len(path_tokens(tree, node)) <= max_length)
        and (max_steps is None or len(path(tree, node)) - 1 <= max_steps)
    }
    assert set(by_source(limited)) == fits
    for source, node in by_source(limited).items():
        original = by_source(tree)[source]
        assert path_tokens(limited, node) == path_tokens(tree, original), "the whole path is kept"
        np.testing.assert_equal(limited.label_N[node], tree.label_N[original])


@given(encoded_trees(), limits, limits)
def test_the_loss_counts_what_was_dropped(tree: EncodedTree, max_length: int | None, max_steps: int | None) -> None:
    limited, loss = limit_tree(tree, max_length=max_length, max_steps=max_steps)
    assert loss.labels == tree.num_labels
    assert loss.labels_dropped == tree.num_labels - limited.num_labels
    assert loss.steps_dropped == tree.num_nodes - limited.num_nodes
    assert loss.trees_emptied == int(tree.num_labels > 0 and limited.num_labels == 0)
    too_long = [
        node
        for node in range(1, tree.num_nodes)
        if not np.isnan(tree.label_N[node]) and len(path_tokens(tree, node)) > (max_length or 10**9)
    ]
    assert loss.labels_too_long == len(too_long), "a label that breaks both limits counts as too long"


def test_a_long_step_takes_its_subtree_with_it_and_counts_both() -> None:
    # problem(4) ── a(3) ── b(9) ── c(1)
    #                    └── d(2)
    tree = encoded_tree([-1, 0, 1, 2, 1], [4, 3, 9, 1, 2], [None, 1.0, 0.5, None, 0.0], random.Random(0))
    limited, loss = limit_tree(tree, max_length=10)
    assert limited.source_N.tolist() == [-1, 0, 3]
    assert limited.parent_N.tolist() == [-1, 0, 1]
    assert loss == LimitLoss(labels=3, labels_too_long=1, steps_dropped=2)


def test_depth_and_length_are_told_apart() -> None:
    tree = encoded_tree([-1, 0, 1, 2], [2, 2, 2, 9], [None, 1.0, 0.0, 0.5], random.Random(0))
    _, loss = limit_tree(tree, max_length=8, max_steps=1)
    assert (loss.labels_too_deep, loss.labels_too_long) == (1, 1)


def test_a_problem_longer_than_the_limit_keeps_nothing_but_itself() -> None:
    tree = encoded_tree([-1, 0], [9, 2], [None, 1.0], random.Random(0))
    limited, loss = limit_tree(tree, max_length=5)
    assert limited.num_nodes == 1
    assert loss.trees_emptied == 1


def test_losses_add_up() -> None:
    first = LimitLoss(labels=5, labels_too_long=1, labels_too_deep=2, steps_dropped=4, trees_emptied=1)
    second = LimitLoss(labels=2, labels_too_deep=1, steps_dropped=1)
    assert first + second == LimitLoss(7, 1, 3, 5, 1)


@given(encoded_trees(max_nodes=14), st.integers(1, 60))
def test_cut_pieces_hold_every_step_and_label_once(tree: EncodedTree, budget: int) -> None:
    pieces = cut_tree(tree, budget)
    sources = [source for piece in pieces for source in by_source(piece)]
    assert sorted(sources) == list(range(tree.num_nodes - 1))
    assert sum(piece.num_labels for piece in pieces) == tree.num_labels
    for piece in pieces:
        for source, node in by_source(piece).items():
            original = by_source(tree)[source]
            assert path_tokens(piece, node) == path_tokens(tree, original)
            np.testing.assert_equal(piece.label_N[node], tree.label_N[original])


@given(encoded_trees(max_nodes=14), st.integers(1, 60))
def test_cut_pieces_keep_the_budget_unless_one_path_is_longer(tree: EncodedTree, budget: int) -> None:
    longest = int(tree.path_ends().max())
    for piece in cut_tree(tree, budget):
        assert piece.num_tokens <= max(budget, longest)


@given(encoded_trees(max_nodes=14), st.integers(1, 60))
def test_every_piece_scores_something_new(tree: EncodedTree, budget: int) -> None:
    pieces = cut_tree(tree, budget)
    assert len(pieces) == 1 or all(by_source(piece) for piece in pieces)


@given(encoded_trees())
def test_repeated_prefixes_carry_no_label(tree: EncodedTree) -> None:
    for piece in cut_tree(tree, 1):
        repeated = piece.source_N == -1
        assert np.isnan(piece.label_N[repeated]).all()

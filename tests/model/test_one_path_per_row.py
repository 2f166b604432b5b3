"""Every needed step is read from one row, and that row is its path."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from strategies import encoded_trees
from surestep.encoding.encoded_tree import EncodedTree
from surestep.encoding.packing import pack_trees
from surestep.model.attention.one_path_per_row import path_rows
from surestep.scoring.model_scorer import to_batch


def path_tokens(tree: EncodedTree, source: int) -> list[int]:
    node = tree.source_N.tolist().index(source)
    tokens: list[int] = []
    while node != -1:
        tokens = tree.tokens_T[tree.offsets[node] : tree.offsets[node + 1]].tolist() + tokens
        node = int(tree.parent_N[node])
    return tokens


@given(st.lists(encoded_trees(), min_size=1, max_size=4), st.booleans())
def test_each_wanted_step_stands_at_the_end_of_its_own_path(trees: list[EncodedTree], every_step: bool) -> None:
    pack = pack_trees(trees, every_step=every_step)
    rows = path_rows(to_batch(pack))
    assert len(rows.row_S) == len(pack.label_index_S)
    for number, (row, column) in enumerate(zip(rows.row_S.tolist(), rows.column_S.tolist(), strict=True)):
        expected = path_tokens(trees[pack.tree_S[number]], int(pack.source_S[number]))
        assert rows.tokens_RL[row, : column + 1].tolist() == expected
        assert rows.mask_RL[row, : column + 1].all()


@given(st.lists(encoded_trees(), min_size=1, max_size=4))
def test_there_are_as_many_rows_as_paths_that_end_in_a_wanted_step(trees: list[EncodedTree]) -> None:
    rows = path_rows(to_batch(pack_trees(trees, every_step=True)))
    leaves = sum(len(set(range(1, tree.num_nodes)) - set(tree.parent_N.tolist())) for tree in trees)
    assert len(rows.tokens_RL) == leaves


@given(st.lists(encoded_trees(), min_size=1, max_size=4))
def test_padding_is_masked_and_only_at_the_end(trees: list[EncodedTree]) -> None:
    rows = path_rows(to_batch(pack_trees(trees, every_step=True)))
    lengths = rows.mask_RL.sum(1)
    columns = torch.arange(rows.mask_RL.shape[1])
    assert torch.equal(rows.mask_RL.bool(), columns[None, :] < lengths[:, None])
    assert (rows.tokens_RL[~rows.mask_RL.bool()] == 0).all()

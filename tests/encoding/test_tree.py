"""Encoding lays a tree out in preorder and tokenises every piece on its own."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given

from strategies import random_tree, trees
from surestep.encoding import formatter as formatter_module
from surestep.encoding.encoded_tree import encode_trees, preorder
from surestep.encoding.formatter import FORMER_HASHES, Formatter
from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.encoding.tokenizer import StepTokenizer
from surestep.types import Node, ReasoningTree, chain


@pytest.fixture(scope="module")
def tokenizer() -> StepTokenizer:
    return load_tokenizer("builtin:tiny")


@given(trees(max_nodes=12))
def test_preorder_visits_every_node_once_right_behind_its_subtree(tree: ReasoningTree) -> None:
    order = preorder(tree)
    assert sorted(order) == list(range(len(tree.nodes)))
    place = {index: rank for rank, index in enumerate(order)}
    for index, node in enumerate(tree.nodes):
        if node.parent != -1:
            between = order[place[node.parent] : place[index]]
            assert all(node.parent in tree.path(other) for other in between), "subtrees are contiguous"
    for first, second in pairwise(order):
        if tree.nodes[first].parent == tree.nodes[second].parent:
            assert first < second, "siblings keep their order"


@given(trees())
def test_every_step_decodes_to_its_text_and_ends_in_the_confidence_token(tree: ReasoningTree) -> None:
    tokenizer, formatter = load_tokenizer("builtin:tiny"), Formatter()
    (encoded,) = encode_trees([tree], tokenizer, formatter)
    for node in range(encoded.num_nodes):
        ids = encoded.tokens_T[encoded.offsets[node] : encoded.offsets[node + 1]].tolist()
        if node == 0:
            assert tokenizer.tokenizer.decode(ids) == tree.problem.strip() + "\n\n"
            assert encoded.source_N[0] == -1
            continue
        source = tree.nodes[encoded.source_N[node]]
        context = (source.context or "").strip()
        evidence = f"[Evidence: {context}]\n" if context else ""
        assert ids[-1] == tokenizer.confidence_id
        assert tokenizer.tokenizer.decode(ids[:-1]) == evidence + source.text.strip() + "\n"


@pytest.mark.slow
@given(trees())
def test_parents_labels_and_depths_follow_the_tree(tree: ReasoningTree) -> None:
    (encoded,) = encode_trees([tree], load_tokenizer("builtin:tiny"), Formatter())
    depths, ends = encoded.depths(), encoded.path_ends()
    for node in range(1, encoded.num_nodes):
        source = tree.nodes[encoded.source_N[node]]
        assert encoded.source_N[encoded.parent_N[node]] == source.parent
        assert depths[node] == len(tree.path(int(encoded.source_N[node])))
        parent_end = ends[encoded.parent_N[node]]
        assert ends[node] == parent_end + encoded.offsets[node + 1] - encoded.offsets[node]
        if source.confidence is None:
            assert np.isnan(encoded.label_N[node])
        else:
            assert encoded.label_N[node] == source.confidence
    assert encoded.num_labels == tree.num_labels


def test_a_soft_label_stays_soft(tokenizer: StepTokenizer) -> None:
    (encoded,) = encode_trees([chain("p", ["a"], [0.9])], tokenizer, Formatter())
    assert encoded.label_N[1] == 0.9


def test_a_step_reads_the_same_whatever_follows_it(tokenizer: StepTokenizer) -> None:
    short = encode_trees([chain("2 + 2?", ["add 2"])], tokenizer, Formatter())[0]
    long = encode_trees([chain("2 + 2?", ["add 2", ", sub 3"])], tokenizer, Formatter())[0]
    np.testing.assert_array_equal(long.tokens_T[: short.num_tokens], short.tokens_T)


def test_encoding_many_trees_equals_encoding_each(tokenizer: StepTokenizer) -> None:
    several = [random_tree(seed) for seed in range(4)]
    together = encode_trees(several, tokenizer, Formatter())
    for tree, encoded in zip(several, together, strict=True):
        np.testing.assert_array_equal(encoded.tokens_T, encode_trees([tree], tokenizer, Formatter())[0].tokens_T)


def test_a_problem_without_steps_is_a_tree_of_one_node(tokenizer: StepTokenizer) -> None:
    (encoded,) = encode_trees([ReasoningTree("p", ())], tokenizer, Formatter())
    assert (encoded.num_nodes, encoded.num_labels) == (1, 0)


def test_a_beginning_of_sequence_token_opens_the_problem_only(stories260k: object) -> None:
    tokenizer = load_tokenizer(str(stories260k))
    (encoded,) = encode_trees([chain("a story", ["one", "two"])], tokenizer, Formatter())
    bos = tokenizer.tokenizer.bos_token_id
    assert tokenizer.prefix_ids == [bos]
    assert encoded.tokens_T[0] == bos
    assert np.count_nonzero(encoded.tokens_T == bos) == 1


def test_braces_in_a_text_are_only_text() -> None:
    formatter = Formatter()
    assert formatter.format_problem("set {problem} and {0}") == "set {problem} and {0}\n\n"
    assert formatter.format_step("f{text}", context="{text} {context}") == "[Evidence: {text} {context}]\nf{text}\n"


def test_the_formatters_hash_changes_with_each_template() -> None:
    hashes = {
        Formatter().hash(),
        Formatter(problem="{problem}\n").hash(),
        Formatter(step="{text}").hash(),
        Formatter(context="{context}\n").hash(),
    }
    assert len(hashes) == 4
    assert Formatter().hash() == Formatter().hash()


def test_the_formatters_hash_changes_with_how_texts_are_cleaned(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Formatter().hash()
    assert before not in FORMER_HASHES
    monkeypatch.setattr(formatter_module, "TEXT_VERSION", formatter_module.TEXT_VERSION + 1)
    assert Formatter().hash() != before


def test_selecting_keeps_paths_whole(tokenizer: StepTokenizer) -> None:
    tree = ReasoningTree("p", (Node("a"), Node("b", 0, 1.0, 1), Node("c", -1, 0.0, 1)))
    (encoded,) = encode_trees([tree], tokenizer, Formatter())
    kept = encoded.select(np.array([True, False, False, True]))
    assert kept.source_N.tolist() == [-1, 2]
    assert kept.parent_N.tolist() == [-1, 0]
    assert kept.num_labels == 1

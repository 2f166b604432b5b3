"""Merging: one node for one step after the same steps, whatever its depth, with the mean of its ratings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.data.records.reading_report import ReadReport
from surestep.data.trees.tree_builder import TreeBuilder
from surestep.types import ROOT

RATINGS = st.sampled_from([None, 0.0, 0.5, 1.0])
PATHS = st.lists(st.lists(st.tuples(st.sampled_from("abc"), RATINGS), min_size=1, max_size=5), max_size=12)


@given(PATHS)
def test_equals_a_dictionary_from_prefix_to_ratings(paths: list[list[tuple[str, float | None]]]) -> None:
    builder, expected = TreeBuilder("p"), {}
    for path in paths:
        parent, prefix = ROOT, ()
        for text, rating in path:
            parent, prefix = builder.add(text, parent, confidence=rating), (*prefix, text)
            expected.setdefault(prefix, []).extend([] if rating is None else [rating])
    report = ReadReport()
    tree = builder.build(report)
    found = {tuple(tree.nodes[step].text for step in tree.path(index)): node for index, node in enumerate(tree.nodes)}
    assert found.keys() == expected.keys()
    for prefix, ratings in expected.items():
        mean = sum(ratings) / len(ratings) if ratings else None
        assert found[prefix].confidence == pytest.approx(mean)
        assert found[prefix].num_ratings == len(ratings)
    assert report["rated_again"] == sum(len(ratings) > 1 for ratings in expected.values())
    assert report["rating_conflict"] == sum(len(set(ratings)) > 1 for ratings in expected.values())


@given(PATHS)
def test_dropping_unlabelled_tails_keeps_every_label_and_its_path(
    paths: list[list[tuple[str, float | None]]],
) -> None:
    builder = TreeBuilder("p")
    for path in paths:
        parent = ROOT
        for text, rating in path:
            parent = builder.add(text, parent, confidence=rating)
    report = ReadReport()
    whole, kept = builder.build(ReadReport()), builder.build(report, drop_unlabelled_tails=True)

    def labels(tree):
        return {
            (tuple(tree.nodes[step].text for step in tree.path(index)), node.confidence)
            for index, node in enumerate(tree.nodes)
            if node.confidence is not None
        }

    assert labels(whole) == labels(kept)
    assert all(kept.nodes[leaf].confidence is not None for leaf in kept.leaves())
    assert report["unlabelled_tail"] == len(whole.nodes) - len(kept.nodes)


def test_the_same_step_with_other_evidence_is_another_node() -> None:
    builder = TreeBuilder("p")
    assert builder.add("s", context="one") != builder.add("s", context="two")
    assert builder.add("s") != builder.add("s", context="one")
    tree = builder.build(ReadReport())
    assert [node.context for node in tree.nodes] == ["one", "two", None]


@pytest.mark.slow
def test_a_very_deep_path_needs_no_recursion() -> None:
    builder, parent = TreeBuilder("p"), ROOT
    for depth in range(50_000):
        parent = builder.add(f"step {depth}", parent)
    builder.add("labelled", parent, confidence=1.0)
    assert len(builder.build(ReadReport(), drop_unlabelled_tails=True).nodes) == 50_001


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
def test_a_rating_out_of_range_is_our_bug(bad: float) -> None:
    with pytest.raises(ValueError, match="allowed: 0 to 1"):
        TreeBuilder("p").add("s", confidence=bad)


def test_an_empty_step_or_a_parent_that_does_not_exist_is_our_bug() -> None:
    with pytest.raises(ValueError, match="empty"):
        TreeBuilder("p").add(" \n")
    with pytest.raises(ValueError, match="parent 3"):
        TreeBuilder("p").add("s", 3)


def test_many_equal_ratings_have_exactly_their_value_as_mean() -> None:
    builder = TreeBuilder("p")
    for _ in range(1000):
        builder.add("s", confidence=1.0)
    node = builder.build(ReadReport()).nodes[0]
    assert (node.confidence, node.num_ratings) == (1.0, 1000)


def test_leaf_chains_are_read_off_while_building() -> None:
    builder = TreeBuilder("p")
    first = builder.add("a")
    builder.add("b", first)
    builder.add("c")
    assert sorted(builder.chains()) == [["a", "b"], ["c"]]

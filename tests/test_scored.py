"""Scored steps refuse what cannot be measured, naming the row, and split, join and renumber without loss."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.errors import DataError
from surestep.scored import FIRST_STEP, ListedTexts, ScoredSteps, problem_hash

TEXTS = ListedTexts(list("ppqqr"), ["one", "two", "three", "four", "five"], [None, None, "seen", None, None])


def make(**changes: Any) -> ScoredSteps:
    """Five steps: a tree of two alternatives and a step beyond the limit in `a`, one tree in `b`; `c` has none."""
    columns: dict[str, Any] = {
        "confidence": np.array([0.1, 0.9, 0.5, np.nan, 1.0]),
        "raw_confidence": np.array([0.2, 0.8, 0.5, np.nan, 0.9]),
        "label": np.array([0.0, 1.0, np.nan, 1.0, 0.5]),
        "true_confidence": np.full(5, np.nan),
        "num_ratings": np.array([1, 3, 0, 1, 2]),
        "dataset": np.array([0, 0, 0, 0, 1]),
        "problem": np.array([0, 0, 1, 1, 2]),
        "tree": np.array([0, 0, 1, 1, 2]),
        "step": np.array([0, 1, 0, 1, 0]),
        "parent": np.array([-1, -1, -1, 0, -1]),
        "position": np.array([1, 1, 1, 2, 1]),
        "dataset_names": ("a", "b", "c"),
        "tree_ids": ("t0", "t1", "t2"),
        "problem_keys": np.array([problem_hash(key) for key in "pqr"], np.uint64),
        "texts": TEXTS,
    }
    return ScoredSteps(**(columns | changes))


def test_counts_rows_and_problems_that_have_one() -> None:
    assert (len(make()), make().num_problems) == (5, 3)
    assert make().select(make().dataset == 1).num_problems == 1


def test_measured_rows_have_a_label_and_a_confidence() -> None:
    measured = make().measured()
    assert measured.confidence.tolist() == [0.1, 0.9, 1.0]
    assert measured.label.tolist() == [0.0, 1.0, 0.5]
    assert measured.problem.tolist() == [0, 0, 2]
    assert measured.texts is None


def test_texts_follow_their_rows_where_they_are_kept() -> None:
    measured = make().measured(keep_texts=True)
    assert measured.texts is not None
    assert [measured.texts.step(row) for row in range(3)] == ["one", "two", "five"]
    assert [measured.texts.problem(row) for row in range(3)] == ["p", "p", "r"]
    joined = ScoredSteps.joined([measured, make()])
    assert joined.texts is not None
    assert [joined.texts.step(row) for row in range(8)] == ["one", "two", "five", *TEXTS.steps]
    assert joined.texts.context(5) == "seen"
    assert ScoredSteps.joined([make(), make(texts=None)]).texts is None


def test_densely_leaves_out_problems_without_a_row_and_keeps_their_order() -> None:
    dense = make().measured().densely()
    assert dense.problem.tolist() == [0, 0, 1]
    assert dense.problem_keys.tolist() == [problem_hash("p"), problem_hash("r")]
    assert make().densely().problem.tolist() == make().problem.tolist()


def test_is_read_only_and_apart_from_the_arrays_it_was_made_of() -> None:
    label = np.array([0.0, 1.0, np.nan, 1.0, 0.5])
    steps = make(label=label)
    label[0] = 0.7
    assert steps.label[0] == 0.0
    for name in ("confidence", "problem", "problem_keys"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(steps, name)[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        steps.label = label  # type: ignore[misc]


@pytest.mark.parametrize("bad", [-0.5, 1.5, math.inf, -math.inf])
@pytest.mark.parametrize("column", ["confidence", "label", "true_confidence", "raw_confidence"])
def test_a_value_outside_the_unit_interval_is_refused_with_the_first_row(column: str, bad: float) -> None:
    with pytest.raises(DataError, match=rf"row 2 .*{column} .*allowed: 0 to 1"):
        make(**{column: np.array([0.5, 0.5, bad, bad, 0.5])})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": np.array([0.0, 1.0])}, r"5 confidences but label of shape \(2,\)"),
        ({"position": np.array([1, 2])}, r"5 confidences but position of shape \(2,\)"),
        ({"raw_confidence": np.full(5, 0.5)}, "row 3 .*confidence nan but raw_confidence 0.5"),
        ({"dataset": np.array([0, 0, 0, 3, 1])}, "row 3 .*dataset 3; allowed: 0 to 2"),
        ({"dataset": np.array([0, -1, 0, 1, 1])}, "row 1 .*dataset -1; allowed: 0 to 2"),
        ({"problem": np.array([0, 0, -1, 2, 2])}, "row 2 .*problem -1; allowed: 0 to 2"),
        ({"problem": np.array([0, 0, 1, 3, 2])}, "row 3 .*problem 3; allowed: 0 to 2"),
        ({"tree": np.array([0, 0, 1, 1, 3])}, "row 4 .*tree 3; allowed: 0 to 2"),
        ({"position": np.array([1, 0, 1, 1, 1])}, "row 1 .*position 0; allowed: at least 1"),
        ({"position": np.array([1.5, 1, 1, 1, 1])}, "position is of type float64; allowed: whole numbers"),
        ({"num_ratings": np.array([1, 3, 0, -1, 2])}, "row 3 .*num_ratings -1; allowed: at least 0"),
        ({"parent": np.array([-1, -1, -2, 0, -1])}, "row 2 .*parent -2; allowed: at least -1"),
        ({"parent": np.array([-1, 1, -1, 0, -1])}, "row 1 .*is step 1 with parent 1; allowed: -1, or a step before"),
        ({"dataset_names": ("a", "b", "a")}, "'a' more than once"),
        ({"problem_keys": np.array([1, 2, 1], np.uint64)}, "a key more than once"),
    ],
)
def test_columns_that_contradict_each_other_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(**changes)


def test_select_keeps_all_columns_in_step_and_refuses_other_masks() -> None:
    part = make().select(np.array([False, True, False, True, False]))
    assert part.label.tolist() == [1.0, 1.0]
    assert (part.dataset.tolist(), part.problem.tolist(), part.tree.tolist()) == ([0, 0], [0, 1], [0, 1])
    assert (part.step.tolist(), part.position.tolist(), part.num_ratings.tolist()) == ([1, 1], [1, 2], [3, 1])
    with pytest.raises(ValueError, match="mask"):
        make().select(np.array([True]))
    with pytest.raises(ValueError, match="mask"):
        make().select(np.array([0, 1, 1, 0, 0]))  # type: ignore[arg-type]


def test_datasets_split_the_rows_and_one_may_be_empty() -> None:
    assert [len(make().for_dataset(name)) for name in ("a", "b", "c")] == [4, 1, 0]
    with pytest.raises(DataError, match="'d'; allowed: a, b, c"):
        make().for_dataset("d")


def test_another_scorers_confidence_replaces_the_raw_one_too() -> None:
    other, raw = np.array([0.4, 0.3, 0.2, 0.1, 0.0]), np.array([0.5, 0.6, 0.7, 0.8, 0.9])
    assert make().with_confidence(other).raw_confidence.tolist() == other.tolist()
    both = make().with_confidence(other, raw)
    assert (both.confidence.tolist(), both.raw_confidence.tolist()) == (other.tolist(), raw.tolist())


def test_paths_run_from_the_first_step_to_every_leaf() -> None:
    found = [(tree, rows.tolist()) for tree, rows in make().paths()]
    assert found == [(0, [0]), (0, [1]), (1, [2, 3]), (2, [4])]
    with pytest.raises(ValueError, match=r"tree 1 .*lacks a step"):
        list(make().select(np.array([True, True, False, True, True])).paths())


def test_no_rows_are_no_trees_and_no_paths() -> None:
    none = ScoredSteps.of_columns([], [])
    assert (none.rows_by_tree(), list(none.paths()), none.num_problems) == ([], [], 0)


@given(st.lists(st.lists(st.integers(0, 100), min_size=1, max_size=12), min_size=1, max_size=4))
def test_paths_are_those_of_the_trees_whatever_the_order_of_rows(choices: list[list[int]]) -> None:
    """Each step follows an earlier one of its tree, or none; against a walk from each leaf."""
    trees = [[choice % (index + 1) - 1 for index, choice in enumerate(tree)] for tree in choices]
    rows = [(t, s, parent) for t, tree in enumerate(trees) for s, parent in enumerate(tree)]
    rows = [rows[i] for i in np.random.default_rng(len(rows)).permutation(len(rows))]
    tree, step, parent = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    zeros = np.zeros(len(rows), np.int64)
    steps = ScoredSteps(
        *(np.full(len(rows), 0.5) for _ in range(4)),
        num_ratings=zeros, dataset=zeros, problem=zeros, tree=tree, step=step, parent=parent, position=zeros + 1,
        dataset_names=("a",), tree_ids=[""] * len(trees), problem_keys=np.zeros(1, np.uint64),
    )  # fmt: skip
    expected = []
    for number, parents in enumerate(trees):
        for leaf in range(len(parents)):
            path, at = [], leaf
            while at != FIRST_STEP:
                path.append(at)
                at = parents[at]
            if leaf not in parents:
                expected.append((number, path[::-1]))
    assert [(number, step[found].tolist()) for number, found in steps.paths()] == expected


def test_pieces_of_one_run_join_to_the_whole() -> None:
    whole, mask = make(), np.array([True, False, True, False, True])
    joined = ScoredSteps.joined([whole.select(mask), whole.select(~mask)])
    assert joined.problem.tolist() == [0, 1, 2, 0, 1]
    assert joined.dataset_names == ("a", "b", "c")
    assert joined.num_problems == 3


def test_one_problem_in_two_parts_is_one_and_others_stay_apart() -> None:
    """Whatever the datasets are called: the key says what a problem is."""
    other = make(dataset_names=("x", "b", "c"), problem_keys=np.array([7, problem_hash("p"), 8], np.uint64))
    joined = ScoredSteps.joined([make(), other])
    assert joined.dataset_names == ("a", "b", "c", "x")
    assert joined.problem.tolist() == [0, 0, 1, 1, 2, 3, 3, 0, 0, 4]
    assert joined.for_dataset("x").num_problems == 2
    assert joined.tree.tolist() == [0, 0, 1, 1, 2, 3, 3, 4, 4, 5]
    assert list(joined.tree_ids) == ["t0", "t1", "t2"] * 2


def test_joining_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="no predictions to join"):
        ScoredSteps.joined([])


def test_columns_alone_make_steps_whose_problems_are_numbered_as_they_appear() -> None:
    steps = ScoredSteps.of_columns([0.1, 0.9, 0.5], [0.0, 1.0, np.nan], problem=np.array([9, 2, 9]))
    assert steps.problem.tolist() == [0, 1, 0]
    assert steps.raw_confidence.tolist() == steps.confidence.tolist()
    assert np.isnan(steps.true_confidence).all()
    assert steps.position.tolist() == [1, 1, 1]
    alone = ScoredSteps.of_columns([0.1, 0.9], [0.0, 1.0])
    assert (alone.num_problems, alone.dataset_names) == (2, ("all",))

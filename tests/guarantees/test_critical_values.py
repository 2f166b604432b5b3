"""Scores that only fall, critical values of paths and trees, and the traps of missing labels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.errors import DataError
from surestep.guarantees import CriticalValues, Judging, ScoredProblem, ScoredTree, critical_pairs, cutoff, path_scores
from surestep.guarantees.choose_path import highest_path
from surestep.guarantees.critical_values import of_path, of_solutions, of_tree, solutions_of
from surestep.guarantees.problems import problems_of
from surestep.scored import ScoredSteps

NAN = math.nan
confidences = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, NAN]), st.floats(0, 1))
labels = st.sampled_from([0.0, 0.5, 1.0, NAN])


def tree(parent: list[int], confidence: list[float], label: list[float], raw: list[float] | None = None) -> ScoredTree:
    values = np.array(confidence, dtype=np.float64)
    return ScoredTree(
        np.array(parent, dtype=np.int64), values, values if raw is None else np.array(raw), np.array(label, float)
    )


def chain(confidence: list[float], label: list[float]) -> ScoredTree:
    return tree(list(range(-1, len(label) - 1)), confidence, label)


def mean_of(problem: ScoredProblem, judging: Judging) -> tuple[np.ndarray, np.ndarray]:
    return of_solutions(solutions_of(problem), judging)


def best_of(problem: ScoredProblem, by: str, judging: Judging) -> tuple[np.ndarray, np.ndarray]:
    solutions = solutions_of(problem)
    return of_path(*solutions[highest_path(by)(solutions)], judging)


@st.composite
def scored_trees(draw: st.DrawFn) -> ScoredTree:
    count = draw(st.integers(0, 10))
    return tree(
        [draw(st.integers(-1, node - 1)) for node in range(count)],
        [draw(confidences) for _ in range(count)],
        [draw(labels) for _ in range(count)],
    )


judgings = st.builds(
    Judging,
    score=st.sampled_from(["product", "min"]),
    wrong_below=st.sampled_from([0.5, 1.0]),
    unlabelled=st.sampled_from(["ignore", "wrong"]),
    loss=st.sampled_from(["wrong_step", "soft"]),
)


@given(scored_trees(), judgings, st.lists(st.floats(-3, 1), min_size=2, max_size=4))
def test_what_is_kept_holds_every_step_before_it_and_shrinks(
    one: ScoredTree, judging: Judging, cutoffs: list[float]
) -> None:
    g = judging.scores(one)
    before: set[int] = set(range(len(g)))
    for c in sorted([*cutoffs, -math.inf]):
        kept = set(np.flatnonzero(g > c).tolist())
        assert all(one.parent[node] == -1 or one.parent[node] in kept for node in kept)
        assert kept <= before
        assert not any(math.isnan(one.confidence[node]) for node in kept), "a step without a score is never kept"
        before = kept


@given(scored_trees())
def test_min_keeps_the_same_through_any_map_that_rises(one: ScoredTree) -> None:
    cubed = path_scores(one.parent, one.raw**3, "min")
    plain = path_scores(one.parent, one.raw, "min")
    np.testing.assert_allclose(cubed, np.where(np.isinf(plain), plain, plain**3), atol=1e-12)


@given(scored_trees(), judgings, st.integers(-40, 40))
def test_the_pairs_say_the_loss_at_every_cutoff(one: ScoredTree, judging: Judging, tenths: int) -> None:
    """Against the definition: the largest loss among the kept nodes."""
    g, loss, c = judging.scores(one), judging.losses(one.label), tenths / 10
    values, falls = critical_pairs(g, loss)
    kept = loss[g > c]
    assert falls[values > c].sum() == pytest.approx(kept.max() if kept.size else 0.0)


@given(st.lists(st.tuples(st.floats(0, 1), labels), min_size=2, max_size=8), st.data(), judgings)
def test_steps_after_the_first_wrong_one_change_nothing(
    steps: list[tuple[float, float]], data: st.DataObject, judging: Judging
) -> None:
    at = data.draw(st.integers(0, len(steps) - 2))
    steps = [*steps[:at], (steps[at][0], 0.0), *steps[at + 1 :]]
    others = [(data.draw(st.floats(0, 1)), data.draw(labels)) for _ in steps[at + 1 :]]
    whole, changed = (
        of_path(chain([s for s, _ in path], [y for _, y in path]), np.arange(len(path)), judging)
        for path in (steps, [*steps[: at + 1], *others])
    )
    for one, two in zip(whole, changed, strict=True):
        np.testing.assert_array_equal(one, two)


@given(st.lists(st.lists(scored_trees(), max_size=3), max_size=8), judgings, st.randoms(use_true_random=False))
def test_the_order_of_problems_and_trees_changes_nothing(
    forest: list[list[ScoredTree]], judging: Judging, random: object
) -> None:
    shuffled = [list(trees) for trees in forest]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for trees in shuffled:
        random.shuffle(trees)  # type: ignore[attr-defined]
    for pairs_of in (mean_of, of_tree):
        found = [
            CriticalValues.of([pairs_of(ScoredProblem(0, tuple(trees)), judging) for trees in problems])
            for problems in (forest, shuffled)
        ]
        assert found[0].n == found[1].n
        assert len({cutoff(one.values, one.weights, one.n, 0.3) for one in found}) == 1


@given(scored_trees(), judgings)
def test_the_order_of_nodes_changes_nothing(one: ScoredTree, judging: Judging) -> None:
    """Depth by depth in place of the order of writing."""
    depth = np.zeros(len(one.parent), np.int64)
    for node, parent in enumerate(one.parent.tolist()):
        depth[node] = depth[parent] + 1 if parent >= 0 else 0
    order = np.argsort(depth, kind="stable")
    place = {old: new for new, old in enumerate(order.tolist())}
    other = tree(
        [place.get(parent, -1) for parent in one.parent[order].tolist()],
        one.confidence[order].tolist(),
        one.label[order].tolist(),
    )
    for two in (one, other):
        problem = ScoredProblem(0, (two,))
        found = CriticalValues.of([of_tree(problem, judging), mean_of(problem, judging)])
        total = {(round(v, 9), p): 0.0 for v, p in zip(found.values, found.problem, strict=True)}
        for value, weight, number in zip(found.values, found.weights, found.problem, strict=True):
            total[round(value, 9), number] += weight
        if two is one:
            expected = total
    assert total == pytest.approx(expected)


def test_a_tree_counts_its_best_scored_wrong_node_and_a_path_its_first() -> None:
    one = tree([-1, 0, 0, 2], [0.9, 0.8, 0.7, 0.6], [1.0, 0.0, 0.0, 1.0])
    problem, judging = ScoredProblem(1, (one,)), Judging(score="min")
    assert of_tree(problem, judging)[0].tolist() == [0.8]
    values, weights = mean_of(problem, judging)
    assert sorted(values.tolist()) == [0.7, 0.8]
    assert weights.tolist() == [0.5, 0.5]
    assert best_of(problem, "min", judging)[0].tolist() == [0.8]
    assert best_of(problem, "last", judging)[0].tolist() == [0.8]


def test_soft_labels_fall_in_parts_and_neutral_is_half_an_error() -> None:
    values, falls = of_path(chain([0.9, 0.8, 0.7], [1.0, 0.5, 0.0]), np.arange(3), Judging(score="min", loss="soft"))
    assert values.tolist() == [0.8, 0.7]
    assert falls.tolist() == [0.5, 0.5]
    assert of_path(chain([0.9], [0.5]), np.arange(1), Judging(wrong_below=0.5))[0].size == 0
    assert of_path(chain([0.9], [0.5]), np.arange(1), Judging(wrong_below=1.0))[0].size == 1


def test_unlabelled_steps_stay_in_the_path() -> None:
    """Their low score cuts what follows; they count as wrong only where that was asked for."""
    path = chain([0.9, 0.2, 0.9], [1.0, NAN, 0.0])
    assert of_path(path, np.arange(3), Judging(score="min"))[0].tolist() == [0.2]
    late = chain([0.9, 0.8, 0.7], [1.0, NAN, 0.0])
    assert of_path(late, np.arange(3), Judging(score="min"))[0].tolist() == [0.7]
    assert of_path(late, np.arange(3), Judging(score="min", unlabelled="wrong"))[0].tolist() == [0.8]


def test_empty_trees_and_problems_have_no_critical_value() -> None:
    empty = ScoredProblem(0, (chain([], []),))
    for pairs in (
        of_tree(empty, Judging()),
        mean_of(empty, Judging()),
        of_tree(ScoredProblem(0, ()), Judging()),
    ):
        assert [part.size for part in pairs] == [0, 0]
    assert CriticalValues.of([]).n == 0


def test_confidences_of_nought_are_scores_and_missing_ones_are_none() -> None:
    assert np.isfinite(path_scores([-1, 0], [0.0, 0.0], "product")).all()
    assert path_scores([-1, 0, 1], [0.5, NAN, 0.9], "min").tolist() == [0.5, -math.inf, -math.inf]
    values, weights = (np.array([-math.inf, 0.5]), np.ones(2))
    assert CriticalValues.of([(values, weights)]).values.tolist() == [0.5]


def test_problems_come_from_scored_steps_with_every_step_of_their_trees() -> None:
    steps = ScoredSteps(
        confidence=np.array([0.9, 0.8, 0.7]),
        raw_confidence=np.array([0.9, 0.8, 0.7]),
        label=np.array([1.0, NAN, 0.0]),
        true_confidence=np.full(3, NAN),
        num_ratings=np.zeros(3, np.int64),
        dataset=np.zeros(3, np.int64),
        problem=np.array([0, 0, 0]),
        tree=np.array([0, 0, 1]),
        step=np.array([0, 1, 0]),
        parent=np.array([-1, 0, -1]),
        position=np.array([1, 2, 1]),
        dataset_names=("all",),
        tree_ids=["a", "b"],
        problem_keys=np.array([7], np.uint64),
    )
    (problem,) = problems_of(steps)
    assert problem.key == 7
    assert problem.num_labels == 2
    assert [one.parent.tolist() for one in problem.trees] == [[-1, 0], [-1]]
    with pytest.raises(DataError, match="lacks some of its steps"):
        problems_of(steps.select(np.array([False, True, True])))

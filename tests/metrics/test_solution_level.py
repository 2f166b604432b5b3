"""Whole solutions by an aggregate of their steps: figures equal scikit-learn's and plain loops."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    matthews_corrcoef,
    ndcg_score,
    roc_auc_score,
)

from surestep.metrics.benchmarks.aggregation import AGGREGATIONS
from surestep.metrics.bootstrap.draws import Draws
from surestep.metrics.solution_level.orders import order_sums, sibling_sums
from surestep.metrics.solution_level.section import ORDERS, SOLUTION_FIGURES, solution_level_report, solution_section
from surestep.metrics.solution_level.solutions import in_whole_trees, solutions_of
from surestep.scored import ScoredSteps
from surestep.scoring.predictions_file import steps_of_rows

# Few values, so that scores tie, and 0.5 among them, where the threshold is.
SCORES = st.sampled_from([0.1, 0.25, 0.5, 0.75, 0.9])
SOLUTION = st.tuples(st.integers(0, 4), st.lists(st.tuples(SCORES, st.booleans()), min_size=1, max_size=3))


def steps_of(solutions: list[tuple[int, list[tuple[float, Any]]]]) -> ScoredSteps:
    rows = [
        {"problem_id": str(name), "problem": f"q{problem}", "step": step, "confidence": score, "label": label}
        for name, (problem, scored) in enumerate(solutions)
        for step, (score, label) in enumerate(scored)
    ]
    return steps_of_rows((row, None) for row in rows)


@pytest.mark.slow
@given(st.lists(SOLUTION, min_size=2, max_size=20))
@settings(max_examples=12, deadline=None)
def test_figures_equal_those_of_scikit_learn(solutions: list[Any]) -> None:
    section = solution_level_report(steps_of(solutions), resamples=0, seed=0)["per_dataset"]["all"]
    right = np.array([all(label for _, label in scored) for _, scored in solutions])
    problem = np.array([number for number, _ in solutions])
    by_hand = {
        "min": min,
        "product": math.prod,
        "mean": lambda values: sum(values) / len(values),
        "last": lambda values: values[-1],
    }
    assert set(section["by_aggregate"]) == set(AGGREGATIONS) == set(by_hand)
    assert (section["num_solutions"], section["num_right"]) == (len(solutions), right.sum())
    for how, found in section["by_aggregate"].items():
        score = np.array([by_hand[how]([value for value, _ in scored]) for _, scored in solutions])
        score = score.round(13)  # what differs by the order of factors alone is equal
        assert list(found)[: len(SOLUTION_FIGURES)] == list(SOLUTION_FIGURES)
        if right.all() or not right.any():
            assert all(found[name] is None for name in ("auroc", "average_precision", "balanced_accuracy", "mcc"))
            assert "solutions" in found["undefined"]["auroc"]
        else:
            called = score > 0.5
            assert found["auroc"] == pytest.approx(roc_auc_score(right, score))
            assert found["average_precision"] == pytest.approx(average_precision_score(right, score))
            assert found["f1"] == pytest.approx(f1_score(right, called, zero_division=0))
            assert found["f1_wrong"] == pytest.approx(f1_score(~right, ~called, zero_division=0))
            assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(right, called))
            assert found["mcc"] == pytest.approx(matthews_corrcoef(right, called))
        each = [np.flatnonzero(problem == number) for number in np.unique(problem)]
        assert section["num_problems_with_several"] == sum(len(rows) > 1 for rows in each)
        if all(len(rows) == 1 for rows in each):
            assert found["precision_at_1"] is found["ndcg"] is found["pairwise_accuracy"] is None
            continue
        first = [right[rows][score[rows] == score[rows].max()].mean() for rows in each]
        assert found["precision_at_1"] == pytest.approx(np.mean(first))
        # scikit-learn wants two documents; one alone is at its best place.
        gains = [
            ndcg_score([right[rows].astype(float)], [score[rows]], k=10) if len(rows) > 1 else float(right[rows[0]])
            for rows in each
        ]
        assert found["ndcg"] == pytest.approx(np.mean(gains))
        pairs = [
            1.0 if score[good] > score[bad] else 0.5 if score[good] == score[bad] else 0.0
            for rows in each
            for good, bad in itertools.product(rows, rows)
            if right[good] and not right[bad]
        ]
        assert found["pairwise_accuracy"] == (pytest.approx(np.mean(pairs)) if pairs else None)


def test_intervals_are_of_problems_drawn_together() -> None:
    random = np.random.default_rng(3)
    solutions = [
        (number // 4, [(float(score), bool(score + random.normal(0, 0.4) > 0.5)) for score in random.random(2)])
        for number in range(80)
    ]
    found = solutions_of(steps_of(solutions))
    section = solution_section(found, resamples=40, seed=5)
    score = np.array([values.min() for values in found.confidence])
    drawn: dict[str, list[float]] = {"mcc": [], "pairwise_accuracy": [], "precision_at_1": [], "ndcg": []}
    for counts in Draws(20, resamples=40, seed=5):
        chosen = [np.flatnonzero(found.problem == number) for number in np.repeat(np.arange(20), counts)]
        rows = np.concatenate(chosen)
        copy = np.repeat(np.arange(20), [len(each) for each in chosen])
        drawn["mcc"].append(matthews_corrcoef(found.is_right[rows], score[rows] > 0.5))
        sums = order_sums(score[rows], found.is_right[rows], copy, 20).sum(axis=0)
        drawn["precision_at_1"].append(sums[0] / sums[2])
        drawn["ndcg"].append(sums[1] / sums[2])
        drawn["pairwise_accuracy"].append(sums[3] / sums[4])
    for name, values in drawn.items():
        interval = section["by_aggregate"]["min"]["intervals"][name]
        assert (interval["low"], interval["high"]) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975]))), name
    assert set(section["by_aggregate"]["min"]["intervals"]) == set(SOLUTION_FIGURES)
    assert set(ORDERS) < set(SOLUTION_FIGURES)
    json.dumps(section, allow_nan=False)


def tree(*rows: tuple[int, int, float | None, float | None], name: str = "t") -> list[dict[str, Any]]:
    """Rows (step, parent, confidence, label) of a tree."""
    return [
        {"problem_id": name, "step": step, "parent": parent, "confidence": confidence, "label": label}
        for step, parent, confidence, label in rows
    ]


def test_a_path_is_right_where_its_last_step_is_labelled_and_none_is_wrong() -> None:
    rows = tree(
        (0, -1, 0.9, None),  # nobody judged it, and what follows decides
        (1, 0, 0.8, 1.0),
        (2, 0, 0.3, 0.0),
        (3, 2, 0.7, 1.0),  # right after a wrong one: the solution is wrong
        (4, 1, 0.6, None),  # unknown
        (5, 1, 0.5, 0.5),  # neutral is not wrong
    )
    found = solutions_of(steps_of_rows((row, None) for row in rows))
    assert [values.tolist() for values in found.confidence] == [[0.9, 0.3, 0.7], [0.9, 0.8, 0.5]]
    assert found.is_right.tolist() == [False, True]
    assert found.left_out["without_label"] == 1


def test_solutions_that_were_not_scored_and_broken_trees_are_counted_never_guessed() -> None:
    rows = [
        *tree((0, -1, 0.9, 1.0), (1, 0, 0.8, 1.0)),
        *tree((0, -1, 0.9, 1.0), (2, 1, 0.1, 0.0), name="lacks step 1"),
        *tree((0, -1, 0.9, 1.0), (1, -1, 0.1, 0.0), name="has step 0 twice"),
        *tree((0, -1, 0.9, 1.0), (1, 0, 0.7, 1.0), name="unscored"),
    ]
    steps = steps_of_rows((row, None) for row in rows)
    # No file may say so, but whoever puts columns together may.
    step = steps.step.copy()
    step[5] = 0
    steps = replace(steps, step=step)
    confidence = steps.confidence.copy()
    confidence[-1] = np.nan
    steps = steps.with_confidence(confidence)
    assert in_whole_trees(steps).tolist() == [True, True, False, False, False, False, True, True]
    found = solutions_of(steps)
    assert len(found) == 1
    section = solution_level_report(steps, resamples=10, seed=0)["per_dataset"]["all"]
    assert section["left_out"] == {"without_score": 1, "in_broken_trees": 4}


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from([-1, 0]), SCORES, st.sampled_from([0.0, 0.5, 1.0])), max_size=9
    )
)
def test_pairs_of_siblings_by_a_plain_loop(drawn: list[Any]) -> None:
    rows = [row for name in "ab" for row in tree((0, -1, 0.5, 1.0), name=name)]
    for step, (name, parent, score, label) in enumerate(drawn, start=1):
        rows += tree((step, parent, score, label), name=name)
    steps = steps_of_rows((row, None) for row in rows)
    won, pairs = sibling_sums(steps, 2).sum(axis=0)
    expected = [
        1.0 if one["confidence"] > other["confidence"] else 0.5 if one["confidence"] == other["confidence"] else 0.0
        for one, other in itertools.permutations(rows, 2)
        if (one["problem_id"], one["parent"]) == (other["problem_id"], other["parent"])
        and one["label"] > other["label"]
    ]
    assert (won, pairs) == (sum(expected), len(expected))


def test_preference_pairs_are_siblings(tmp_path: Any) -> None:
    rows = [row for name in "abc" for row in tree((0, -1, 0.8, 1.0), (1, -1, 0.3, 0.0), name=name)]
    rows[-1]["confidence"] = 0.9
    section = solution_level_report(steps_of_rows((r, None) for r in rows), resamples=50, seed=0)["per_dataset"]["all"]
    assert section["sibling_pairs"]["num_pairs"] == 3
    assert section["sibling_pairs"]["accuracy"] == pytest.approx(2 / 3)
    assert section["sibling_pairs"]["interval"]["high"] == 1.0
    assert section["by_aggregate"]["min"]["pairwise_accuracy"] == pytest.approx(2 / 3)


def test_nothing_to_judge_is_an_empty_section() -> None:
    steps = ScoredSteps.of_columns([0.5], [np.nan], dataset_names=("x",))
    section = solution_level_report(steps, resamples=10, seed=0)["per_dataset"]["x"]
    assert (section["num_solutions"], section["by_aggregate"]) == (0, {})
    assert section["sibling_pairs"] == {"num_pairs": 0, "accuracy": None, "interval": None}

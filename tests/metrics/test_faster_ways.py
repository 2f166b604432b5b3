"""Each faster way to what a large evaluation needs gives what its plain definition gives, to the digit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surestep import arrays
from surestep.arrays import distinct_and_places
from surestep.metrics.bootstrap import draws as draws_module
from surestep.metrics.bootstrap.draws import Draws
from surestep.metrics.figures.bins import equal_mass_bins
from surestep.metrics.solution_level.solutions import LEFT_OUT, in_whole_trees, solutions_of
from surestep.scored import FIRST_STEP, ScoredSteps

SEEDS = st.integers(0, 10**6)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    SEEDS,
    st.sampled_from(["near", "far", "negative", "narrow", "few", "many", "none", "names"]),
    st.sampled_from([2, 4096]),
)
def test_distinct_values_and_their_places_are_those_of_unique(seed: int, kind: str, looked_up: int) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 60))
    values = {
        "near": rng.integers(0, 20, size),
        "far": rng.integers(-(2**62), 2**62, size),
        "negative": rng.integers(-5, 5, size),
        "narrow": rng.integers(-128, 128, size, dtype=np.int8),
        "few": rng.choice([0.0, -0.0, 0.5, 1.0, np.nan], size, p=[0.3, 0.2, 0.2, 0.29, 0.01]),
        "many": rng.choice([-0.0, *rng.random(size)], size),
        "none": rng.random(0),
        "names": rng.choice(["a", "b"], size),
    }[kind]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "MOST_LOOKED_UP", looked_up)
        found, place = distinct_and_places(values)
    expected, expected_place = np.unique(values, return_inverse=True)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(place, expected_place)
    assert found.dtype == expected.dtype
    assert kind not in {"few", "many"} or not np.signbit(found).any()


@settings(derandomize=True, deadline=None, max_examples=60)
@given(SEEDS, st.integers(1, 12), st.booleans())
def test_bins_of_equal_mass_are_where_the_middle_of_the_ranks_falls(seed: int, num_bins: int, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    confidence = rng.choice([0.0, 0.25, 1.0, *rng.random(6)], int(rng.integers(1, 40)))
    weights = rng.integers(1, 4, confidence.size).astype(float) if weighted else np.ones(confidence.size)
    expected = []
    for value in confidence:
        below, same = weights[confidence < value].sum(), weights[confidence == value].sum()
        expected.append(min(math.floor(num_bins * (2 * below + same) / (2 * weights.sum())), num_bins - 1))
    assert equal_mass_bins(confidence, num_bins, weights).tolist() == expected
    if not weighted:
        assert equal_mass_bins(confidence, num_bins).tolist() == expected


def _random_trees(rng: np.random.Generator) -> ScoredSteps:
    """Chains and trees that branch, in any order of rows, some broken, some steps without a label or a confidence."""
    tree, step, parent = [], [], []
    for number in range(int(rng.integers(0, 7))):
        length = int(rng.integers(1, 5))
        is_chain = rng.random() < 0.6
        for place in range(length):
            tree.append(number)
            step.append(place * 2)
            parent.append(2 * (place - 1 if is_chain else int(rng.integers(-1, place))) if place else FIRST_STEP)
            if parent[-1] < 0 or rng.random() < 0.03:
                parent[-1] = FIRST_STEP if parent[-1] < 0 else parent[-1] - 1
    order = rng.permutation(len(tree))
    size, num_trees = len(tree), max(tree, default=-1) + 1
    confidence = rng.choice([0.1, 0.5, 0.9, np.nan], size, p=[0.4, 0.3, 0.2, 0.1])
    columns = {name: np.array(values, np.int64)[order] for name, values in (("tree", tree), ("step", step))}
    return ScoredSteps(
        confidence=confidence,
        raw_confidence=confidence / 2 if rng.random() < 0.5 else confidence,
        label=rng.choice([0.0, 0.5, 1.0, np.nan], size, p=[0.1, 0.1, 0.6, 0.2]),
        true_confidence=np.full(size, np.nan),
        num_ratings=np.zeros(size, np.int64),
        dataset=np.zeros(size, np.int64),
        problem=columns["tree"] // 2,
        parent=np.array(parent, np.int64)[order],
        position=np.ones(size, np.int64),
        dataset_names=("all",),
        tree_ids=[""] * num_trees,
        problem_keys=np.arange(num_trees // 2 + 1, dtype=np.uint64),
        **columns,
    )


@settings(derandomize=True, deadline=None, max_examples=120)
@given(SEEDS)
def test_solutions_are_those_of_one_path_after_another(seed: int) -> None:
    steps = _random_trees(np.random.default_rng(seed))
    whole = in_whole_trees(steps)
    left_out = dict.fromkeys(LEFT_OUT, 0) | {"in_broken_trees": int((~whole).sum())}
    kept, expected = steps.select(whole), []
    for _, rows in kept.paths():
        label = kept.label[rows]
        is_wrong = bool((label < 0.5).any())
        if not is_wrong and np.isnan(label[-1]):
            left_out["without_label"] += 1
        elif np.isnan(kept.confidence[rows]).any():
            left_out["without_score"] += 1
        else:
            problem = int(kept.problem[rows[0]])
            expected.append((kept.confidence[rows].tolist(), kept.raw_confidence[rows].tolist(), not is_wrong, problem))
    found = solutions_of(steps)
    assert found.left_out == left_out
    problems = sorted({problem for *_, problem in expected})
    columns = zip(found.confidence, found.raw, found.is_right.tolist(), found.problem.tolist(), strict=True)
    assert [(p.tolist(), raw.tolist(), right, problems[at]) for p, raw, right, at in columns] == expected


@pytest.mark.parametrize("kept", [True, False], ids=["as bytes", "made anew"])
@pytest.mark.parametrize("at_least", [1, 5, 100])
def test_draws_and_their_sums_do_not_depend_on_how_many_are_asked_for(
    kept: bool, at_least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draws_module, "_BLOCK_ENTRIES", 30)
    if not kept:
        monkeypatch.setattr(draws_module, "_MOST_KEPT", 0)
    draws, table = Draws(9, resamples=17, seed=3), np.random.default_rng(0).normal(size=(9, 4))
    blocks = list(draws.of_blocks(lambda counts: (counts.copy(), draws.products(counts, table)), at_least=at_least))
    np.testing.assert_array_equal(np.concatenate([counts for counts, _ in blocks]), list(draws))
    assert len(blocks[0][0]) >= (min(at_least, 17) if kept else 1)
    np.testing.assert_array_equal(np.concatenate([sums for _, sums in blocks]), draws.sums(table))
    np.testing.assert_allclose(draws.sums(table), np.array(list(draws)) @ table)

"""Sums that make large evaluations cheap equal the plain ones, and memory grows by little a step."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.sparse  # noqa: F401  (its own memory is not what is measured)
from hypothesis import given, settings
from hypothesis import strategies as st

from surestep.metrics.benchmarks.aggregation import AGGREGATIONS, aggregate, aggregate_all
from surestep.metrics.bootstrap import draws as draws_module
from surestep.metrics.bootstrap.draws import Draws
from surestep.metrics.figures import cells as cells_module
from surestep.metrics.figures.cells import Cells, Counts
from surestep.metrics.figures.figure import Column, Columns, OfProblem, problem_table
from surestep.metrics.problem_sums import SumsOfProblems
from surestep.metrics.report import build_report
from surestep.metrics.solution_level.orders import order_sums
from surestep.scored import ScoredSteps


@pytest.mark.parametrize("most", [1, 300, 70_000, 2**33], ids=["bytes", "16 bits", "32 bits", "64 bits"])
def test_packed_sums_over_cells_are_exact_however_large(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells_module, "_FEWEST_STEPS", 0)
    rng = np.random.default_rng(most)
    problem, cell = rng.integers(0, 8, 500), rng.choice([0, 1, 2, 5], 500, p=[0.01, 0.01, 0.9, 0.08])
    counts = rng.integers(0, most, (7, 11), endpoint=True).astype(np.float64)
    expected = [np.bincount(cell, row[problem], 6) for row in counts]
    np.testing.assert_array_equal(Cells(problem, cell, 6).sums(Counts(counts)), expected)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), bins=st.sampled_from([1, 3, 40]))
def test_what_is_in_a_table_adds_up_as_the_table_does(seed: int, bins: int) -> None:
    """Whether problems have more bins than steps decides only how the sums are held."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 40))
    problem, bin_of = rng.integers(0, 9, size), rng.integers(0, bins, size)
    columns: Columns = {
        "mass": Column(np.ones(size), bin_of, bins),
        "gap": Column(rng.normal(size=size), bin_of, bins),
        "both": OfProblem("mass", "gap"),
        "some": Column(rng.normal(size=size), bin_of, bins, where=rng.random(size) < 0.5),
        "twice": Column(rng.normal(size=2 * size), np.tile(bin_of, 2), bins, steps=np.tile(np.arange(size), 2)),
    }
    counts = Counts(rng.integers(0, 4, (3, 9)).astype(np.float64))
    added = SumsOfProblems(problem, 9).add(columns)
    for name, sums in added.items():
        expected = counts.values @ problem_table(columns, name, problem, 9)
        found = sums.drawn(counts) if sums.table is None else counts.values @ sums.table
        np.testing.assert_allclose(found, expected, atol=1e-12, err_msg=name)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_solutions_of_one_length_are_scored_together_to_the_digit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    solutions = [rng.random(int(rng.integers(0, 24))) for _ in range(int(rng.integers(0, 30)))]
    for how in AGGREGATIONS:
        assert aggregate_all(solutions, how).tolist() == [aggregate(steps, how) for steps in solutions], how


def test_a_problem_of_one_solution_has_the_orders_of_any() -> None:
    """Alone, among others, right and wrong: each row is what the problem gives by itself."""
    rng = np.random.default_rng(0)
    problem = np.repeat(np.arange(40), rng.integers(1, 5, 40))
    score, right = np.round(rng.random(problem.size), 1), rng.random(problem.size) < 0.5
    found = order_sums(score, right, problem, 40)
    for number in range(40):
        rows = problem == number
        # A second copy of the problem's number keeps it from being the only solution of anything.
        alone = order_sums(score[rows], right[rows], np.zeros(rows.sum(), np.int64), 1)
        assert found[number].tolist() == alone[0].tolist()
        if rows.sum() == 1:
            assert found[number].tolist() == [float(right[rows][0])] * 2 + [1.0, 0.0, 0.0]


def test_draws_kept_as_bytes_are_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = Draws(50, 9, 3)
    kept = np.concatenate(list(draws.blocks()))
    monkeypatch.setattr(draws_module, "_MOST_KEPT", 0)
    np.testing.assert_array_equal(np.concatenate(list(draws.blocks())), kept)
    np.testing.assert_array_equal(list(draws), kept)


def _peak_of_evaluating(num_steps: int) -> int:
    rng = np.random.default_rng(num_steps)
    problem = np.repeat(np.arange(num_steps // 10), 10)
    label = rng.choice([0.0, 0.5, 1.0], num_steps)
    steps = ScoredSteps.of_columns(
        rng.random(num_steps),
        label,
        problem=problem,
        position=np.tile(np.arange(1, 11), num_steps // 10),
        dataset=problem % 2,
        dataset_names=("a", "b"),
    )
    tracemalloc.start()
    try:
        build_report(steps, baselines=[], resamples=2)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_memory_of_an_evaluation_grows_by_little_a_step() -> None:
    """A step of two datasets took 2,000 bytes when every table of groups held every column of its steps."""
    small, large = _peak_of_evaluating(20_000), _peak_of_evaluating(60_000)
    assert (large - small) / 40_000 < 700

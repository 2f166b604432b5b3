"""Draws equal the figure itself under each draw's weights, whatever else is measured beside it, and are fast."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surestep.metrics import FIGURES, Figure, Measure, UndefinedFigureError, equal_mass_bins, resample
from surestep.metrics import measure as measure_module
from surestep.metrics.bootstrap.draws import Draws
from surestep.metrics.figures.figure import Weighted
from surestep.metrics.figures.rank_sums import RankedSteps
from surestep.scored import ScoredSteps

FIXED_BINS = ("ece_equal_mass", "rms_calibration_error")
"""Their bins are those of the steps as seen, in every draw."""


def made(num_problems: int, *, seed: int, ties: bool = True) -> ScoredSteps:
    """Problems with one to nine steps, shuffled; soft, hard and neutral labels, many ties."""
    random = np.random.default_rng(seed)
    problem = np.repeat(np.arange(num_problems), random.integers(1, 10, num_problems))
    label = random.choice([0.0, 0.5, 1.0, 0.3], problem.size, p=[0.3, 0.2, 0.4, 0.1])
    confidence = np.clip(0.5 * label + 0.5 * random.random(problem.size), 0, 1)
    order = random.permutation(problem.size)
    return ScoredSteps.of_columns(
        (np.round(confidence, 1) if ties else confidence)[order], label[order], problem=problem[order]
    )


def plain_draws(name: str, steps: ScoredSteps, draws: Draws) -> list[float]:
    found = []
    for counts in draws:
        try:
            if name == "ece_equal_mass":
                found.append(loop_ece(steps, counts))
            elif name == "rms_calibration_error":
                found.append(loop_rms(steps, counts))
            else:
                found.append(FIGURES[name](steps.confidence, steps.label, counts[steps.problem]))
        except UndefinedFigureError:
            found.append(math.nan)
    return found


def loop_ece(steps: ScoredSteps, counts: np.ndarray) -> float:
    bins, weights = equal_mass_bins(steps.confidence), counts[steps.problem]
    gaps = [abs(np.sum((weights * (steps.confidence - steps.label))[bins == k])) for k in range(10)]
    return float(sum(gaps) / weights.sum())


def loop_rms(steps: ScoredSteps, counts: np.ndarray) -> float:
    """The definition, problem by problem; a problem drawn twice is two problems."""
    bins = equal_mass_bins(steps.confidence)
    gaps = steps.confidence - steps.label
    squared = all_mass = 0.0
    for k in range(10):
        there = [gaps[(bins == k) & (steps.problem == g)] for g in np.repeat(np.arange(counts.size), counts)]
        there = [values for values in there if values.size]
        if len(there) < 2:
            continue
        values = np.concatenate(there)
        moved = sum(np.sum(problem - values.mean()) ** 2 for problem in there)
        variance = len(there) / (len(there) - 1) * moved / values.size**2
        squared += values.size * (values.mean() ** 2 - variance)
        all_mass += values.size
    return math.sqrt(max(squared / all_mass, 0.0)) if all_mass else math.nan


def drawn(steps: ScoredSteps, draws: Draws, names: list[str] | None = None) -> dict[str, np.ndarray]:
    chosen = [FIGURES[name] for name in names or FIGURES]
    measure = Measure(steps, chosen, num_problems=draws.num_problems)
    resample([measure], draws)
    return {figure.name: measure.draws(figure.name) for figure in chosen}


@pytest.mark.parametrize("num_problems", [2, 5, 40])
@pytest.mark.parametrize("seed", range(4))
def test_draws_are_the_figure_under_the_draws_weights(num_problems: int, seed: int) -> None:
    steps = made(num_problems, seed=seed, ties=seed % 2 == 0)
    draws = Draws(num_problems, 12, seed)
    for name, found in drawn(steps, draws).items():
        # A root of rounding noise is larger than the noise.
        tolerance = 1e-7 if name == "rms_calibration_error" else 1e-12
        np.testing.assert_allclose(found, plain_draws(name, steps, draws), atol=tolerance, err_msg=name)


@pytest.mark.slow
def test_edges_all_zero_all_one_and_labels_of_one_kind() -> None:
    draws = Draws(6, 10)
    for p in (np.zeros(6), np.ones(6), np.array([0.1, 0.2, 0.3, 0.7, 0.9, 1.0])):
        for y in (np.zeros(6), np.ones(6), np.full(6, 0.5), np.array([0, 1, 0.5, 1, 0, 1.0])):
            steps = ScoredSteps.of_columns(p, y)
            for name, found in drawn(steps, draws).items():
                np.testing.assert_allclose(found, plain_draws(name, steps, draws), atol=1e-7, err_msg=name)


def test_a_selection_is_measured_on_the_draws_of_all_steps() -> None:
    steps, draws = made(30, seed=2), Draws(30, 8, 5)
    some = steps.select(steps.label > 0.2)
    both = [Measure(part, num_problems=30) for part in (steps, some)]
    resample(both, draws)
    weights = [counts[some.problem] for counts in draws]
    for name in FIGURES:
        if name not in FIXED_BINS:
            expected = [FIGURES[name](some.confidence, some.label, w) for w in weights]
            np.testing.assert_allclose(both[1].draws(name), expected, atol=1e-12, err_msg=name)
    alone = drawn(steps, draws)
    for name, found in alone.items():
        np.testing.assert_allclose(found, both[0].draws(name), atol=1e-12, err_msg=name)


def test_a_table_in_slices_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    steps, draws = made(30, seed=4), Draws(30, 6)
    whole = drawn(steps, draws)
    monkeypatch.setattr(measure_module, "_TABLE_ENTRIES", 30 * 20)
    sliced = drawn(steps, draws)
    for name, found in whole.items():
        np.testing.assert_allclose(sliced[name], found, atol=1e-13, err_msg=name)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), decimals=st.sampled_from([0, 1, 17]), soft=st.booleans())
def test_rankings_equal_the_plain_figures_under_any_counts(seed: int, decimals: int, soft: bool) -> None:
    """Ties, soft labels, problems never drawn, one class only: the plain value sees only the steps that count."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 40))
    p = np.round(rng.random(size), decimals)
    y = rng.choice([0.0, 0.25, 0.5, 1.0], size) if soft else rng.integers(0, 2, size).astype(np.float64)
    problem = rng.integers(0, 8, size)
    counts = rng.integers(0, 3, (3, 8)).astype(np.float64)
    sums = RankedSteps(p, y, problem).sums(counts)
    for figure in FIGURES.values():
        if figure.reads == "raw_confidence":
            for row, weights in enumerate(counts[:, problem]):
                try:
                    expected = figure(p, y, weights)
                except UndefinedFigureError:
                    expected = math.nan
                found = figure.kind.value(sums)[row]  # type: ignore[union-attr, arg-type, index]
                assert found == pytest.approx(expected, abs=1e-9, nan_ok=True), figure.name


@settings(derandomize=True, deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), decimals=st.sampled_from([0, 1, 17]), labels=st.sampled_from([1, 2, 4, 99]))
def test_cells_of_equal_confidence_and_label_change_no_ranking(seed: int, decimals: int, labels: int) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 60))
    p = np.round(rng.random(size), decimals)
    y = rng.choice(np.linspace(0.0, 1.0, labels), size)
    steps = RankedSteps(p, y, rng.integers(0, 8, size)).merged(int(rng.integers(1, 20)))
    counts = rng.integers(0, 3, (3, 8)).astype(np.float64)
    cells = steps.in_cells()
    assert cells is steps or cells.width <= size
    for figure in FIGURES.values():
        if figure.reads == "raw_confidence":
            found, expected = (figure.kind.value(one.sums(counts)) for one in (cells, steps))
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12, err_msg=figure.name)


def test_a_draw_costs_one_sum_over_the_steps_and_the_rest_over_few_cells() -> None:
    rng = np.random.default_rng(0)
    p, y = rng.random(9000), rng.choice([0.0, 0.5, 1.0], 9000)
    steps = RankedSteps(p, y, np.repeat(np.arange(900), 10)).merged(100)
    cells = steps.in_cells()
    sums = cells.sums(np.ones((2, 900)))
    assert cells.width == 300
    assert sums.all_steps.right.shape == (2, 100)


def test_merging_neighbours_moves_a_ranking_by_less_than_it_can_show() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(10_000)
    y = (rng.random(p.size) < p).astype(np.float64)
    steps, draws = ScoredSteps.of_columns(p, y, problem=np.repeat(np.arange(1000), 10)), Draws(1000, 20)
    ranked = [figure for figure in FIGURES.values() if figure.reads == "raw_confidence"]
    slow, fast = (Measure(steps, ranked, num_problems=1000, most_groups=most) for most in (10**6, 1000))
    resample([slow, fast], draws)
    for figure in ranked:
        assert np.abs(fast.draws(figure.name) - slow.draws(figure.name)).max() < 1e-4, figure.name


def test_rankings_read_the_raw_confidence_and_the_others_do_not() -> None:
    steps = made(30, seed=1, ties=False)
    half = np.full(len(steps), 0.5)
    mixed, raw, tied = steps.with_confidence(half, steps.confidence), steps, steps.with_confidence(half)
    measures = [Measure(part, num_problems=30) for part in (mixed, raw, tied)]
    resample(measures, Draws(30, 5))
    for name, figure in FIGURES.items():
        read = measures[1] if figure.reads == "raw_confidence" else measures[2]
        assert measures[0].values[name] == read.values[name], name
        # Sums of the same numbers: some processors add them in an order that follows from where they lie.
        np.testing.assert_allclose(measures[0].draws(name), read.draws(name), rtol=1e-14, atol=1e-16, err_msg=name)


def test_any_function_is_a_figure_with_the_same_draws_and_interval() -> None:
    """A mean written as `Weighted`, which knows nothing of sums, equals the figure made of sums."""
    mse = FIGURES["mse"]
    slow = replace(mse, name="slow", kind=Weighted(lambda p, y, w: float(np.average((p - y) ** 2, weights=w))))
    measure = Measure(made(20, seed=1), [mse, slow], num_problems=20)
    resample([measure], Draws(20, 50))
    np.testing.assert_allclose(measure.draws("slow"), measure.draws("mse"), atol=1e-14)
    assert measure.interval("slow")[:2] == pytest.approx(measure.interval("mse")[:2], abs=1e-14)  # type: ignore[index]


def test_intervals_stay_within_the_range_of_their_figure() -> None:
    wide = Figure("wide", "Wide", "none", Weighted(lambda p, y, w: 2.0 * float(w.max())), range=(0.0, 3.0))
    measure = Measure(made(5, seed=1), [wide], num_problems=5)
    resample([measure], Draws(5, 50))
    interval = measure.interval("wide")
    assert interval is not None
    assert interval.low is not None
    assert (interval.low >= 2.0, interval.high) == (True, 3.0)


def test_problems_beyond_the_draws_are_refused() -> None:
    steps = made(5, seed=1)
    with pytest.raises(ValueError, match="number problems densely first"):
        Measure(steps, num_problems=3)


def test_a_hundred_thousand_steps_with_few_ties_can_be_resampled() -> None:
    steps = made(20_000, seed=3, ties=False)
    assert len(steps) > 95_000
    for name in ("mse", "r2", "ece", "auroc"):
        assert np.isfinite(drawn(steps, Draws(20_000, 100), [name])[name]).all()

"""MSE, MAE, R², NLL, Brier and accuracy against scikit-learn, and the rules for soft labels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from surestep.errors import DataError
from surestep.metrics import (
    FIGURES,
    UndefinedFigureError,
    accuracy,
    brier,
    compute_figures,
    mae,
    mae_by_label_range,
    mse,
    nll,
    r2,
)

# Seeded like all tests; no deadline, because other work may share the machine.
QUICK = settings(derandomize=True, deadline=None, max_examples=60)
UNIT = st.floats(0.0, 1.0)
SOFT_LABELS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
# Every sum here is of up to a few thousand numbers in [0, 1]: rounding stays far below this.
TOLERANCE = 1e-12
SIGNED = ("calibration_in_the_large", "brier_within_bin", "spearman")
UNBOUNDED = ("r2", "nll", *SIGNED)


def random_columns(seed: int, size: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidences with ties, soft labels, whole weights of which some are 0."""
    rng = np.random.default_rng(seed)
    confidence = np.round(rng.random(size), 2)
    return confidence, rng.choice(SOFT_LABELS, size), rng.integers(0, 4, size).astype(np.float64)


@st.composite
def columns(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    size = draw(st.integers(1, 40))
    edges_and_ties = st.one_of(UNIT, st.sampled_from([k / 10 for k in range(11)]))
    confidence = draw(st.lists(edges_and_ties, min_size=size, max_size=size))
    label = draw(st.lists(st.sampled_from(SOFT_LABELS.tolist()), min_size=size, max_size=size))
    return np.array(confidence), np.array(label)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_equal_scikit_learn(seed: int, weighted: bool) -> None:
    p, y, w = random_columns(seed)
    weights = w if weighted else None
    hard = (y >= 0.5).astype(float)
    assert mse(p, y, weights) == pytest.approx(sk.mean_squared_error(y, p, sample_weight=weights), abs=TOLERANCE)
    assert mae(p, y, weights) == pytest.approx(sk.mean_absolute_error(y, p, sample_weight=weights), abs=TOLERANCE)
    assert r2(p, y, weights) == pytest.approx(sk.r2_score(y, p, sample_weight=weights), abs=TOLERANCE)
    assert brier(p, y, weights) == pytest.approx(sk.brier_score_loss(hard, p, sample_weight=weights), abs=TOLERANCE)
    inside = np.clip(p, 0.01, 0.99)  # scikit-learn clips at another place
    assert nll(inside, hard, weights) == pytest.approx(
        sk.log_loss(hard, inside, sample_weight=weights, labels=[0, 1]), abs=TOLERANCE
    )
    decided = y != 0.5
    expected = sk.accuracy_score(
        y[decided] > 0.5, p[decided] >= 0.5, sample_weight=None if weights is None else w[decided]
    )
    assert accuracy(p, y, weights) == pytest.approx(expected, abs=TOLERANCE)


def test_nll_of_a_soft_label_is_the_mixture_of_both_outcomes() -> None:
    p = 0.3
    both = 0.25 * -math.log(p) + 0.75 * -math.log(1 - p)
    assert nll([p], [0.25]) == pytest.approx(both, abs=TOLERANCE)


@pytest.mark.parametrize(("confidence", "label"), [(0.0, 1.0), (1.0, 0.0)])
def test_nll_of_a_sure_mistake_is_finite_and_clipped_as_stated(confidence: float, label: float) -> None:
    assert nll([confidence], [label]) == pytest.approx(-math.log(1e-7), rel=1e-9)


def test_brier_counts_a_half_as_right_while_mse_does_not() -> None:
    assert brier([1.0], [0.5]) == 0.0
    assert mse([1.0], [0.5]) == 0.25


def test_accuracy_leaves_out_exact_halves_only() -> None:
    just_above = np.nextafter(0.5, 1.0)
    assert accuracy([0.9, 0.1, 0.1], [just_above, 0.5, 0.5]) == 1.0


def test_accuracy_takes_a_confidence_of_one_half_as_right() -> None:
    assert accuracy([0.5], [1.0]) == 1.0


def test_r2_of_equal_labels_is_undefined_even_where_their_mean_is_rounded() -> None:
    # The mean of three 0.1 is 0.10000000000000002: a variance above 0 that is not there.
    with pytest.raises(UndefinedFigureError, match="no variance"):
        r2([0.3, 0.2, 0.1], [0.1, 0.1, 0.1])


def test_accuracy_of_halves_alone_is_undefined() -> None:
    with pytest.raises(UndefinedFigureError, match=r"exactly 0\.5"):
        accuracy([0.3], [0.5])


def test_mae_by_label_range_covers_every_step_once() -> None:
    p = np.array([0.1, 0.1, 0.5, 1.0, 0.6])
    y = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    ranges = mae_by_label_range(p, y)
    assert [r.count for r in ranges] == [1, 1, 1, 1, 1]
    assert [r.mae for r in ranges] == pytest.approx([0.1, 0.15, 0.0, 0.25, 0.4])
    assert (ranges[0].lower, ranges[-1].upper) == (0.0, 1.0)


def test_mae_by_label_range_of_no_steps_lists_empty_ranges() -> None:
    assert [(r.count, r.mae) for r in mae_by_label_range([], [])] == [(0, None)] * 5


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("bad", [1.0000001, -0.01, math.nan, math.inf])
def test_every_figure_names_the_first_row_outside_the_range(name: str, bad: float) -> None:
    with pytest.raises(DataError, match=r"row 1 .*confidence .*allowed: 0 to 1"):
        FIGURES[name]([0.5, bad, bad], [0.0, 1.0, 1.0])
    with pytest.raises(DataError, match=r"row 2 .*label .*allowed: 0 to 1"):
        FIGURES[name]([0.5, 0.5, 0.5], [0.0, 1.0, bad])


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_of_no_steps_is_undefined_with_that_reason(name: str) -> None:
    with pytest.raises(UndefinedFigureError, match="no labelled steps"):
        FIGURES[name]([], [])
    with pytest.raises(UndefinedFigureError, match="no labelled steps"):
        FIGURES[name]([0.5], [1.0], [0.0])


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="alike"):
        mse([0.5, 0.5], [1.0])
    with pytest.raises(ValueError, match="alike"):
        mse([0.5], [1.0], [1.0, 1.0])


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_weights_that_count_nothing_are_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="finite and at least 0"):
        mse([0.5, 0.5], [1.0, 0.0], [1.0, weight])


# Each example is of every figure: to draw one takes far longer than to compute a figure of it.
@pytest.mark.slow
@QUICK
@given(data=columns(), seed=st.integers(0, 99))
def test_no_figure_depends_on_the_order_of_rows(data: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    p, y = data
    order = np.random.default_rng(seed).permutation(p.size)
    before = compute_figures(p, y, names=FIGURES)
    after = compute_figures(p[order], y[order], names=FIGURES)
    assert after.undefined == before.undefined
    for name in FIGURES:
        if name not in before.undefined:
            assert after.values[name] == pytest.approx(before.values[name], abs=1e-9), name


@pytest.mark.slow
@QUICK
@given(data=columns(), seed=st.integers(0, 99))
def test_a_weight_counts_as_that_many_equal_rows(data: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    p, y = data
    times = np.random.default_rng(seed).integers(0, 4, p.size)
    weighted = compute_figures(p, y, times, names=FIGURES).values
    repeated = compute_figures(np.repeat(p, times), np.repeat(y, times), names=FIGURES).values
    for name in FIGURES:
        if repeated[name] is None:
            assert weighted[name] is None, name
        else:
            assert weighted[name] == pytest.approx(repeated[name], abs=1e-9), name


@pytest.mark.slow
@QUICK
@given(data=columns())
def test_every_bounded_figure_stays_in_the_unit_interval(data: tuple[np.ndarray, np.ndarray]) -> None:
    values = compute_figures(*data, names=FIGURES).values
    for name in FIGURES:
        value = values[name]
        assert name in UNBOUNDED or value is None or -TOLERANCE <= value <= 1.0 + TOLERANCE, name


@QUICK
@given(data=columns())
def test_signed_figures_stay_between_minus_one_and_one(data: tuple[np.ndarray, np.ndarray]) -> None:
    for name, value in compute_figures(*data, names=SIGNED).values.items():
        assert value is None or abs(value) <= 1.0 + TOLERANCE, name


@QUICK
@given(data=columns())
def test_r2_never_exceeds_one_and_nll_is_never_negative(data: tuple[np.ndarray, np.ndarray]) -> None:
    values = compute_figures(*data, names=["r2", "nll"]).values
    assert values["r2"] is None or values["r2"] <= 1.0
    assert values["nll"] is not None
    assert values["nll"] >= 0.0


@pytest.mark.slow
@QUICK
@given(a=columns(), b=columns())
def test_mean_figures_of_merged_datasets_are_means_weighted_by_steps(
    a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]
) -> None:
    merged = np.concatenate([a[0], b[0]]), np.concatenate([a[1], b[1]])
    for figure in (mse, mae, nll, brier):
        parts = np.average([figure(*a), figure(*b)], weights=[a[0].size, b[0].size])
        assert figure(*merged) == pytest.approx(parts, abs=1e-9)

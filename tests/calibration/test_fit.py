"""Fitting: equal to scikit-learn where it does the same, and back to the truth where the truth is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from calibration_samples import overconfident, steps
from surestep.calibration import ConfidenceMap, clip_for, fit_beta, fit_isotonic, fit_platt, fit_temperature
from surestep.calibration.gain import FloatArray
from surestep.calibration.maps.isotonic import pool_adjacent_violators
from surestep.calibration.maps.logistic_fit import clipped, logit, sigmoid
from surestep.metrics import nll

FITS = [fit_temperature, fit_platt, fit_beta, fit_isotonic]
Fit = Callable[[FloatArray, FloatArray, FloatArray], ConfidenceMap]


@st.composite
def samples(draw: st.DrawFn) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Ties, the ends 0 and 1, soft labels and weights of 0; both kinds of label."""
    count = draw(st.integers(4, 60))
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    confidence = np.round(random.random(count), draw(st.integers(0, 3)))
    label = random.choice([0.0, 0.5, 1.0, 0.3], count)
    label[:2] = [0.0, 1.0]
    weights = random.choice([1.0, 2.0, 0.0, 0.25], count)
    weights[:2] = 1.0
    return confidence, label, weights


@given(samples())
def test_isotonic_equals_scikit_learn(sample: tuple[FloatArray, FloatArray, FloatArray]) -> None:
    confidence, label, weights = sample
    made = fit_isotonic(confidence, label, weights)
    theirs = IsotonicRegression(y_min=made.clip, y_max=1.0 - made.clip, out_of_bounds="clip")
    theirs.fit(confidence, label, sample_weight=weights)
    where = np.concatenate([np.linspace(0.0, 1.0, 101), confidence])
    np.testing.assert_allclose(made.apply(where), theirs.predict(where), atol=1e-9)


def test_isotonic_with_thousands_of_steps_equals_scikit_learn() -> None:
    data = steps(num_problems=300, distort=overconfident(3.0))
    made = fit_isotonic(data.confidence, data.label, data.weights)
    theirs = IsotonicRegression(y_min=made.clip, y_max=1 - made.clip, out_of_bounds="clip").fit(
        data.confidence, data.label
    )
    where = np.linspace(0.0, 1.0, 10_001)
    np.testing.assert_allclose(made.apply(where), theirs.predict(where), atol=1e-9)
    assert len(made.points) < 1000, "a level stretch is two points"


def test_pooling_is_the_nearest_rising_sequence() -> None:
    """Against a search over all rising sequences on a grid."""
    values, weights = np.array([3.0, 1.0, 2.0, 0.0]), np.array([1.0, 2.0, 1.0, 1.0])
    found = pool_adjacent_violators(values, weights)
    best = float(np.sum(weights * (found - values) ** 2))
    assert (np.diff(found) >= 0).all()
    random = np.random.default_rng(0)
    others = np.sort(random.uniform(0, 3, (20_000, 4)), axis=1)
    assert (np.sum(weights * (others - values) ** 2, axis=1) >= best).all()


@given(
    st.lists(
        st.tuples(
            st.one_of(st.floats(0, 1), st.sampled_from([0.0, 5e-324, 1e-310, 1 - 2**-53, 1.0])),
            st.sampled_from([0.25, 1.0, 3.0, 1e6]),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_pooling_is_the_min_max_of_means(rows: list[tuple[float, float]]) -> None:
    """max over a ≤ i of min over b ≥ i of the mean of a..b (Robertson, Wright, Dykstra, 1988, theorem 1.4.4)."""
    values, weights = np.array(rows).T
    count = len(values)
    means = {
        (a, b): np.average(values[a : b + 1], weights=weights[a : b + 1]) for b in range(count) for a in range(b + 1)
    }
    expected = [max(min(means[a, b] for b in range(i, count)) for a in range(i + 1)) for i in range(count)]
    found = pool_adjacent_violators(values, weights)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert (np.diff(found) >= 0).all()
    assert values.min() <= found.min()
    assert found.max() <= values.max()


def test_the_clip_depends_on_the_number_of_steps() -> None:
    made = fit_isotonic(np.array([0.1, 0.9]), np.array([0.0, 1.0]), np.ones(2))
    assert made.clip == clip_for(2) == pytest.approx(0.5 / (2**0.5 + 1))
    assert made.apply([0.0, 1.0]).tolist() == [made.clip, 1 - made.clip]
    assert clip_for(9_801) == pytest.approx(0.005)


def test_the_clip_is_the_minimax_estimate_of_a_proportion_without_a_wrong_step() -> None:
    """(right + √n / 2) / (n + √n), the Bayes estimate under Beta(√n / 2, √n / 2)."""
    for count in (1, 10, 1000):
        estimate = (count + count**0.5 / 2) / (count + count**0.5)
        assert 1.0 - clip_for(count) == pytest.approx(estimate)


@pytest.mark.parametrize("weighted", [False, True])
def test_platt_equals_scikit_learns_logistic_regression(weighted: bool) -> None:
    data = steps(num_problems=100, distort=overconfident(2.0, 0.7))
    weights = np.random.default_rng(1).uniform(0.1, 3.0, len(data)) if weighted else data.weights
    made = fit_platt(data.confidence, data.label, weights)
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000)
    theirs.fit(logit(data.confidence)[:, None], data.label, sample_weight=weights)
    assert made.slope == pytest.approx(float(theirs.coef_[0, 0]), abs=1e-5)
    assert made.intercept == pytest.approx(float(theirs.intercept_[0]), abs=1e-5)


def test_beta_equals_scikit_learns_logistic_regression_where_its_slopes_are_allowed() -> None:
    data = steps(num_problems=100, distort=lambda p: clipped(p) ** 0.5)
    made = fit_beta(data.confidence, data.label, data.weights)
    p = clipped(data.confidence)
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000)
    theirs.fit(np.stack([np.log(p), -np.log1p(-p)], axis=1), data.label)
    assert min(made.a, made.b) > 0
    np.testing.assert_allclose([made.a, made.b, made.c], [*theirs.coef_[0], theirs.intercept_[0]], atol=1e-4)


def test_a_soft_label_equals_its_share_of_hard_ones() -> None:
    confidence = np.array([0.2, 0.4, 0.7, 0.9])
    label = np.array([0.25, 0.25, 0.75, 0.5])
    hard = np.concatenate([np.ones(4), np.zeros(4)])
    shares = np.concatenate([label, 1.0 - label])
    for fit in FITS[:3]:
        soft_map = fit(confidence, label, np.ones(4))
        hard_map = fit(np.tile(confidence, 2), hard, shares)
        np.testing.assert_allclose(soft_map.apply(confidence), hard_map.apply(confidence), atol=1e-7)


def test_a_weight_equals_repeated_steps() -> None:
    data = steps(num_problems=30, distort=overconfident(2.0))
    weights = np.random.default_rng(0).integers(1, 4, len(data))
    where = np.linspace(0.01, 0.99, 50)
    for fit in FITS[:3]:
        once = fit(data.confidence, data.label, weights.astype(float))
        repeated = fit(np.repeat(data.confidence, weights), np.repeat(data.label, weights), np.ones(weights.sum()))
        np.testing.assert_allclose(once.apply(where), repeated.apply(where), atol=1e-6)


@given(samples(), st.sampled_from(FITS))
def test_no_fit_is_worse_than_no_map_on_its_own_steps(
    sample: tuple[FloatArray, FloatArray, FloatArray], fit: Fit
) -> None:
    confidence, label, weights = sample
    made = fit(confidence, label, weights)
    found = made.apply(confidence)
    assert ((found >= 0) & (found <= 1)).all()
    order = np.argsort(confidence)
    assert (np.diff(found[order]) >= -1e-12).all()
    # The clip of a small isotonic sample costs some of what it gained: the mean is then the yardstick that it beats.
    mean = np.full(len(label), np.average(label, weights=weights))
    yardstick = max(nll(confidence, label, weights), nll(mean, label, weights))
    assert nll(found, label, weights) <= yardstick + 1e-6


def test_a_known_temperature_is_recovered() -> None:
    data = steps(num_problems=500, distort=overconfident(2.5))
    made = fit_temperature(data.confidence, data.label, data.weights)
    assert made.temperature == pytest.approx(2.5, rel=0.05)


def test_a_known_slope_and_shift_are_recovered() -> None:
    data = steps(num_problems=500, distort=overconfident(2.0, 1.0))
    made = fit_platt(data.confidence, data.label, data.weights)
    assert made.slope == pytest.approx(0.5, rel=0.05)
    assert made.intercept == pytest.approx(-0.5, abs=0.1)  # two standard errors


def test_a_known_beta_distortion_is_recovered_exactly_from_its_own_expectation() -> None:
    data = steps(num_problems=50, soft=True)
    true = clipped(data.label)
    # If q = σ(a ln p − b ln(1 − p) + c) holds exactly, the least NLL is at these a, b, c.
    label = sigmoid(0.4 * np.log(true) - 1.7 * np.log1p(-true) + 0.3)
    made = fit_beta(true, label, data.weights)
    np.testing.assert_allclose([made.a, made.b, made.c], [0.4, 1.7, 0.3], atol=1e-6)


def test_isotonic_recovers_a_staircase_that_no_other_map_can() -> None:
    data = steps(num_problems=800)
    stairs = np.select([data.confidence < 0.3, data.confidence < 0.7], [0.1, 0.5], 0.95)
    label = (np.random.default_rng(5).random(len(data)) < stairs).astype(float)
    made = fit_isotonic(data.confidence, label, data.weights)
    np.testing.assert_allclose(made.apply([0.15, 0.5, 0.9]), [0.1, 0.5, 0.95], atol=0.03)


@pytest.mark.parametrize("fit", FITS)
def test_calibrated_data_is_left_alone_within_noise(fit: Fit) -> None:
    data = steps(num_problems=1000)
    where = np.linspace(0.1, 0.9, 81)
    tolerance = 0.06 if fit is fit_isotonic else 0.015
    np.testing.assert_allclose(fit(data.confidence, data.label, data.weights).apply(where), where, atol=tolerance)


@pytest.mark.parametrize("fit", FITS)
def test_a_model_that_knows_nothing_gives_the_mean_label(fit: Fit) -> None:
    """Also where its order is wrong: the best rising map is then level."""
    data = steps(num_problems=200, distort=lambda p: 1.0 - p)
    found = fit(data.confidence, data.label, data.weights).apply([0.1, 0.5, 0.9])
    expected = 0.5 if fit is fit_temperature else float(data.label.mean())
    np.testing.assert_allclose(found, expected, atol=0.01)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("confidence", [np.full(60, 0.4), np.zeros(60), np.ones(60)])
def test_a_constant_confidence_can_be_fitted(fit: Fit, confidence: FloatArray) -> None:
    label = np.tile([1.0, 0.0, 0.0], 20)
    found = fit(confidence, label, np.ones(60)).apply(confidence)
    expected = 1 / 3 if fit is not fit_temperature else found[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("fit", FITS)
def test_steps_parted_without_exception_give_finite_numbers(fit: Fit) -> None:
    confidence, label = np.array([0.1, 0.2, 0.8, 0.9]), np.array([0.0, 0.0, 1.0, 1.0])
    found = fit(confidence, label, np.ones(4)).apply(confidence)
    assert np.isfinite(found).all()
    assert nll(found, label, np.ones(4)) <= nll(confidence, label, np.ones(4)) + 0.2

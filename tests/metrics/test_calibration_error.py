"""Both calibration errors against a plain loop, above all where bins meet and where confidences tie."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from surestep.errors import DataError
from surestep.metrics import (
    ece,
    ece_equal_mass,
    ece_equal_mass_over,
    ece_over,
    equal_mass_bins,
    equal_width_bins,
    reliability_equal_mass,
    reliability_equal_width,
)

# Seeded like all tests; no deadline, because other work may share the machine.
QUICK = settings(derandomize=True, deadline=None, max_examples=60)
TOLERANCE = 1e-12
UNIT = st.one_of(st.floats(0.0, 1.0), st.sampled_from([k / 10 for k in range(11)]))
ROWS = st.lists(st.tuples(UNIT, st.sampled_from([0.0, 0.25, 0.5, 1.0])), min_size=1, max_size=60)


def loop_owner(confidence: float, num_bins: int = 10) -> int:
    """The stated rule, one comparison at a time."""
    owners = [
        k
        for k in range(num_bins)
        if k / num_bins <= confidence and (confidence < (k + 1) / num_bins or (k == num_bins - 1 and confidence == 1.0))
    ]
    assert len(owners) == 1
    return owners[0]


def loop_error(owners: list[int], confidence: list[float], label: list[float]) -> float:
    total = 0.0
    for k in set(owners):
        members = [i for i, owner in enumerate(owners) if owner == k]
        mean_p = sum(confidence[i] for i in members) / len(members)
        mean_y = sum(label[i] for i in members) / len(members)
        total += len(members) / len(confidence) * abs(mean_p - mean_y)
    return total


def loop_mass_owner(confidence: list[float], value: float, num_bins: int = 10) -> int:
    """The middle of the value's ranks, in exact arithmetic."""
    below = sum(other < value for other in confidence)
    ties = sum(other == value for other in confidence)
    return math.floor(Fraction(num_bins) * (Fraction(ties, 2) + below) / len(confidence))


HARD_CASES: dict[str, tuple[list[float], list[float]]] = {
    "all labels 0": ([0.0, 0.1, 0.55, 0.9], [0.0] * 4),
    "all labels 1": ([0.0, 0.1, 0.55, 0.9], [1.0] * 4),
    "all confidences 0": ([0.0] * 3, [0.0, 0.5, 1.0]),
    "all confidences 1": ([1.0] * 3, [0.0, 0.5, 1.0]),
    "exactly on edges": ([k / 10 for k in range(11)], [k % 2 for k in range(11)]),
    "just below edges": ([math.nextafter(k / 10, 0.0) for k in range(1, 11)], [k % 2 for k in range(10)]),
    "just above edges": ([math.nextafter(k / 10, 1.0) for k in range(10)], [k % 2 for k in range(10)]),
    "a single row": ([0.3], [1.0]),
    "a single 1.0": ([1.0], [1.0]),
    "ties across bins": ([0.2] * 7 + [0.4] * 5 + [0.9], [0.0, 1.0] * 6 + [0.5]),
    "denormal": ([5e-324, 0.0], [1.0, 0.0]),
    "fewer rows than bins": ([0.9, 0.1, 0.5], [0.25, 0.0, 1.0]),
}


@pytest.mark.parametrize("case", HARD_CASES)
def test_equal_width_equals_a_plain_loop(case: str) -> None:
    p, y = HARD_CASES[case]
    owners = [loop_owner(value) for value in p]
    assert equal_width_bins(p).tolist() == owners
    assert ece(p, y) == pytest.approx(loop_error(owners, p, y), abs=TOLERANCE)


@pytest.mark.parametrize("case", HARD_CASES)
def test_equal_mass_equals_a_plain_loop(case: str) -> None:
    p, y = HARD_CASES[case]
    owners = [loop_mass_owner(p, value) for value in p]
    assert equal_mass_bins(p).tolist() == owners
    assert ece_equal_mass(p, y) == pytest.approx(loop_error(owners, p, y), abs=TOLERANCE)


@QUICK
@given(rows=ROWS, num_bins=st.integers(1, 15))
def test_both_equal_a_plain_loop_on_any_rows(rows: list[tuple[float, float]], num_bins: int) -> None:
    p, y = [row[0] for row in rows], [row[1] for row in rows]
    width = [loop_owner(value, num_bins) for value in p]
    mass = [loop_mass_owner(p, value, num_bins) for value in p]
    assert equal_width_bins(p, num_bins).tolist() == width
    assert equal_mass_bins(p, num_bins).tolist() == mass
    assert ece_over(num_bins)(p, y) == pytest.approx(loop_error(width, p, y), abs=1e-9)
    assert ece_equal_mass_over(num_bins)(p, y) == pytest.approx(loop_error(mass, p, y), abs=1e-9)


@pytest.mark.parametrize("k", range(10))
def test_an_edge_belongs_to_the_bin_above_it_and_its_neighbour_to_the_one_below(k: int) -> None:
    edge = float(f"0.{k}")
    assert equal_width_bins([edge]).tolist() == [k]
    if k:
        assert equal_width_bins([math.nextafter(edge, 0.0)]).tolist() == [k - 1]


def test_a_float32_is_binned_as_the_number_it_is() -> None:
    assert float(np.float32(0.7)) < 0.7
    assert float(np.float32(0.3)) > 0.3
    assert equal_width_bins(np.array([0.7, 0.3], dtype=np.float32)).tolist() == [6, 3]


@pytest.mark.parametrize("bad", [-1e-9, 1.0 + 1e-9, 10.0, math.nan, math.inf])
def test_no_value_falls_silently_in_no_bin(bad: float) -> None:
    for function in (equal_width_bins, equal_mass_bins):
        with pytest.raises(DataError, match="row 1 "):
            function([0.5, bad])
    with pytest.raises(DataError, match="row 1 "):
        reliability_equal_width([0.5, bad], [0.0, 1.0])
    with pytest.raises(DataError, match="row 1 "):
        reliability_equal_mass([0.5, bad], [0.0, 1.0])


def test_equal_mass_without_ties_differs_by_at_most_one_step() -> None:
    p = np.random.default_rng(0).permutation(np.linspace(0.001, 0.999, 123))
    counts = np.bincount(equal_mass_bins(p), minlength=10)
    assert counts.sum() == 123
    assert counts.max() - counts.min() <= 1


def test_equal_mass_never_parts_ties_and_follows_their_order() -> None:
    p = np.array([0.5] * 50 + [0.6] * 3 + [0.7] * 47)
    bins = equal_mass_bins(p)
    assert len(set(bins[:50])) == len(set(bins[50:53])) == len(set(bins[53:])) == 1
    assert bins[0] < bins[50] < bins[53]


@QUICK
@given(confidence=st.lists(UNIT, min_size=1, max_size=60))
def test_confidences_equal_to_the_labels_have_no_error(confidence: list[float]) -> None:
    assert ece(confidence, confidence) == 0.0
    assert ece_equal_mass(confidence, confidence) == 0.0


def test_confidence_of_the_mean_label_has_no_error() -> None:
    y = [1.0] * 3 + [0.0] * 7
    assert ece([0.3] * 10, y) == pytest.approx(0.0, abs=TOLERANCE)
    assert ece_equal_mass([0.3] * 10, y) == pytest.approx(0.0, abs=TOLERANCE)


def test_soft_labels_count_as_they_are() -> None:
    assert ece([0.5, 0.5], [0.5, 0.5]) == 0.0
    assert ece([0.5, 0.5], [1.0, 1.0]) == 0.5


@QUICK
@given(rows=ROWS)
def test_equal_width_error_bounds_the_gap_of_the_means(rows: list[tuple[float, float]]) -> None:
    p, y = np.array(rows).T
    gap = abs(p.mean() - y.mean())
    assert ece(p, y) >= gap - 1e-9
    assert ece_over(1)(p, y) == pytest.approx(gap, abs=1e-9)


@QUICK
@given(a=ROWS, b=ROWS)
def test_merging_datasets_never_exceeds_their_weighted_mean(
    a: list[tuple[float, float]], b: list[tuple[float, float]]
) -> None:
    (pa, ya), (pb, yb) = np.array(a).T, np.array(b).T
    mean = np.average([ece(pa, ya), ece(pb, yb)], weights=[len(a), len(b)])
    assert ece(np.concatenate([pa, pb]), np.concatenate([ya, yb])) <= mean + 1e-9


def test_reliability_table_equals_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(500)  # no value lies on an edge, where scikit-learn's rule differs
    y = (rng.random(500) < p).astype(float)
    share, mean = calibration_curve(y, p, n_bins=10)
    table = [row for row in reliability_equal_width(p, y) if row.count]
    assert [row.mean_label for row in table] == pytest.approx(share.tolist(), abs=TOLERANCE)
    assert [row.mean_confidence for row in table] == pytest.approx(mean.tolist(), abs=TOLERANCE)


@QUICK
@given(rows=ROWS)
def test_both_tables_hold_every_step_and_give_the_same_error(rows: list[tuple[float, float]]) -> None:
    p, y = np.array(rows).T
    width, mass = reliability_equal_width(p, y), reliability_equal_mass(p, y)
    for table, error in ((width, ece(p, y)), (mass, ece_equal_mass(p, y))):
        assert sum(row.count for row in table) == len(rows)
        total = 0.0
        for row in table:
            if row.count == 0:
                assert row.mean_confidence is None
                assert row.mean_label is None
                continue
            assert row.mean_confidence is not None
            assert row.mean_label is not None
            assert row.lower - 1e-9 <= row.mean_confidence <= row.upper + 1e-9
            total += row.count / len(rows) * abs(row.mean_confidence - row.mean_label)
        assert total == pytest.approx(error, abs=1e-9)
    assert all(row.count for row in mass)
    assert [(row.lower, row.upper) for row in width] == [(k / 10, (k + 1) / 10) for k in range(10)]


def test_tables_of_no_steps_are_empty() -> None:
    assert [row.count for row in reliability_equal_width([], [])] == [0] * 10
    assert reliability_equal_mass([], []) == []

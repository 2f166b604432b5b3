"""Maps: rising, inside [0, 1], and the same after a round trip through JSON."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surestep.calibration import (
    MAPS,
    Beta,
    Calibration,
    ConfidenceMap,
    Identity,
    Isotonic,
    Platt,
    Temperature,
    map_from_json,
    map_to_json,
)

slopes = st.floats(0.0, 50.0)
offsets = st.floats(-50.0, 50.0)


@st.composite
def isotonic_maps(draw: st.DrawFn) -> Isotonic:
    points = sorted(draw(st.sets(st.floats(0.0, 1.0), min_size=1, max_size=12)))
    values = sorted(draw(st.lists(st.floats(0.0, 1.0), min_size=len(points), max_size=len(points))))
    return Isotonic(tuple(points), tuple(values), draw(st.floats(0.0, 0.5)))


maps = st.one_of(
    st.just(Identity()),
    st.builds(Temperature, st.floats(1e-3, 1e3)),
    st.builds(Platt, slopes, offsets),
    st.builds(Beta, slopes, slopes, offsets),
    isotonic_maps(),
)
confidences = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40).map(lambda values: np.array(sorted(values)))
SMALLEST = float(np.nextafter(0.0, 1.0))
any_float = st.one_of(
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0, width=32),
    st.floats(SMALLEST, 2.2e-308),  # subnormal
    st.integers(0, 1074).map(lambda power: 2.0**-power),
    st.integers(1, 53).map(lambda power: 1.0 - 2.0**-power),
    st.sampled_from([0.0, 1.0, 0.5, SMALLEST, 1e-314, 1e-45, 1e-12, 1.0 - 1e-12]),
)
huge = st.floats(0.0, allow_infinity=False)


@st.composite
def isotonic_maps_with_points_close_together(draw: st.DrawFn) -> Isotonic:
    points = sorted(draw(st.sets(any_float, min_size=1, max_size=8)))
    values = sorted(draw(st.lists(any_float, min_size=len(points), max_size=len(points))))
    return Isotonic(tuple(points), tuple(values), draw(st.sampled_from([0.0, 0.01, 0.5])))


@st.composite
def fitted_maps(draw: st.DrawFn) -> ConfidenceMap:
    """Every entry of the table, fitted to confidences of all sizes."""
    confidence = np.array(draw(st.lists(any_float, min_size=2, max_size=20)))
    label = np.array(draw(st.lists(st.floats(0.0, 1.0), min_size=len(confidence), max_size=len(confidence))))
    return MAPS[draw(st.sampled_from(list(MAPS)))].fit(confidence, label, np.ones(len(confidence)))


extreme_maps = st.one_of(
    maps,
    fitted_maps(),
    isotonic_maps_with_points_close_together(),
    st.builds(Temperature, st.floats(SMALLEST, allow_infinity=False)),
    st.builds(Platt, huge, st.floats(allow_nan=False, allow_infinity=False)),
    st.builds(Beta, huge, huge, st.floats(allow_nan=False, allow_infinity=False)),
)


def with_neighbours(values: list[float], dtype: Any) -> Any:
    """Floats in order, each with the ones just below and above it."""
    these = np.array([0.0, 1.0, *values], dtype=dtype)
    around = [np.nextafter(these, dtype(0.0)), these, np.nextafter(these, dtype(1.0))]
    return np.unique(np.concatenate(around))


@pytest.mark.slow
@given(extreme_maps, st.lists(any_float, max_size=30), st.sampled_from([np.float32, np.float64]))
@settings(max_examples=200, deadline=None)
@pytest.mark.filterwarnings("error")
def test_every_map_rises_over_all_floats_and_stays_between_0_and_1(
    made: ConfidenceMap, values: list[float], dtype: Any
) -> None:
    """Not by a digit does it fall; also as read from JSON; one at a time as in an array, in any memory layout."""
    confidence = with_neighbours([*values, *getattr(made, "points", ())], dtype)
    again = map_from_json(json.loads(json.dumps(map_to_json(made), allow_nan=False)))
    for each in (made, again):
        found = each.apply(confidence)
        assert found.dtype == np.float64
        assert ((found >= 0.0) & (found <= 1.0)).all()
        assert (np.diff(found) >= 0.0).all()
        assert [float(each.apply(one)) for one in confidence] == found.tolist()
        assert each.apply(confidence[::-1]).tolist() == found.tolist()[::-1]
        assert each.apply(confidence[::2]).tolist() == found.tolist()[::2]
        assert each.apply(confidence.astype(np.float64)).tolist() == found.tolist()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("centre", [1e-12, 0.1, 0.5, 0.9, 1.0 - 1e-9])
def test_ten_thousand_neighbouring_floats_never_fall(centre: float) -> None:
    """Where the rounding of a logarithm or of e^z would show: floats side by side, and a slope that magnifies it."""
    start = np.array(centre).view(np.int64)
    confidence = (start + np.arange(10_000)).view(np.float64)
    for made in (Temperature(0.7), Temperature(3.0), Platt(7.3, -0.4), Beta(0.9, 2.3, 0.1), Beta(3.0, 0.0, 1.0)):
        assert (np.diff(made.apply(confidence)) >= 0.0).all()


def test_a_confidence_that_is_missing_stays_missing() -> None:
    for made in (Identity(), Temperature(2.0), Platt(1.0, 0.5), Beta(1.0, 2.0, 0.0), Isotonic((0.5,), (0.4,), 0.1)):
        assert np.isnan(made.apply([0.5, np.nan])).tolist() == [False, True]


def test_the_table_stands_from_simple_to_flexible() -> None:
    examples = [Identity(), Temperature(2.0), Platt(1.0, 0.5), Beta(1.0, 2.0, 0.0), Isotonic((0, 1), (0, 1), 0)]
    assert [type(made) for made in examples] == list(MAPS.values())
    assert [len(fields(made)) for made in examples[:4]] == [0, 1, 2, 3], "numbers that are fitted"


@given(maps, confidences)
def test_every_map_survives_json(made: ConfidenceMap, confidence: Any) -> None:
    again = map_from_json(json.loads(json.dumps(map_to_json(made), allow_nan=False)))
    assert again == made
    assert (again.apply(confidence) == made.apply(confidence)).all()


def test_maps_keep_the_shape_of_what_they_are_given() -> None:
    for made in (Identity(), Temperature(2.0), Platt(1.0, 0.5), Beta(1.0, 2.0, 0.0), Isotonic((0.5,), (0.4,), 0.1)):
        assert made.apply(np.full((2, 3), 0.5)).shape == (2, 3)
        assert np.ndim(made.apply(0.5)) == 0


def test_neutral_parameters_are_the_identity() -> None:
    confidence = np.linspace(0.001, 0.999, 99)
    neutral: list[ConfidenceMap] = [Temperature(1.0), Platt(1.0, 0.0), Beta(1.0, 1.0, 0.0), Isotonic((0, 1), (0, 1), 0)]
    for made in neutral:
        np.testing.assert_allclose(made.apply(confidence), confidence, atol=1e-12)


def test_isotonic_results_are_kept_off_0_and_1() -> None:
    made = Isotonic((0.2, 0.8), (0.0, 1.0), 0.05)
    np.testing.assert_allclose(made.apply([0.0, 0.2, 0.5, 0.8, 1.0]), [0.05, 0.05, 0.5, 0.95, 0.95])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kind": "spline"}, "spline"),
        ({}, "None"),
        ({"kind": "platt", "slope": 1.0}, "intercept"),
        ({"kind": "platt", "slope": 1.0, "intercept": 0.0, "more": 1}, "more"),
        ({"kind": "platt", "slope": -1.0, "intercept": 0.0}, "slope is -1.0"),
        ({"kind": "beta", "a": 1.0, "b": -0.5, "c": 0.0}, "-0.5"),
        ({"kind": "temperature", "temperature": 0.0}, "above 0"),
        ({"kind": "temperature", "temperature": math.nan}, "finite"),
        ({"kind": "temperature", "temperature": "1"}, "finite"),
        ({"kind": "temperature", "temperature": 10**400}, "finite"),
        ({"kind": ["platt"]}, "allowed: identity, temperature"),
        ({"kind": "isotonic", "points": 0.5, "values": [0.5], "clip": 0.0}, "no list"),
        ({"kind": "isotonic", "points": ["0.5"], "values": [0.5], "clip": 0.0}, "finite"),
        (["kind", "platt"], "list"),
        (None, "NoneType"),
        ({"kind": "isotonic", "points": [], "values": [], "clip": 0.0}, "at least one"),
        ({"kind": "isotonic", "points": [0.1, 0.2], "values": [0.5], "clip": 0.0}, "as many"),
        ({"kind": "isotonic", "points": [0.1, 0.2], "values": [0.5, 0.4], "clip": 0.0}, "rise"),
        ({"kind": "isotonic", "points": [0.2, 0.2], "values": [0.4, 0.5], "clip": 0.0}, "rise"),
        ({"kind": "isotonic", "points": [0.2], "values": [1.5], "clip": 0.0}, "range"),
        ({"kind": "isotonic", "points": [0.2], "values": [0.5], "clip": 0.6}, "range"),
    ],
)
def test_a_map_that_is_none_is_refused(values: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        map_from_json(values)


def test_a_calibration_survives_json() -> None:
    made = Calibration(Temperature(1.5), {"own": Platt(0.5, -1.0)}, {"steps": 12})
    assert Calibration.from_json(json.loads(json.dumps(made.to_json()))) == made


@pytest.mark.parametrize("field", ["pooled", "datasets", "about", "format_version"])
def test_a_calibration_with_a_part_missing_is_refused(field: str) -> None:
    values = Calibration(Identity()).to_json()
    del values[field]
    with pytest.raises(ValueError, match=field.replace("_", " ")):
        Calibration.from_json(values)

"""Maps: rising, inside [0, 1], and the same after a round trip through JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.calibration import (
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


@given(maps, confidences)
def test_every_map_rises_and_stays_between_0_and_1(made: ConfidenceMap, confidence: Any) -> None:
    found = made.apply(confidence)
    assert found.dtype == np.float64
    assert ((found >= 0.0) & (found <= 1.0)).all()
    assert (np.diff(found) >= -1e-12).all()  # the last bits of a logarithm need not rise


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
        ({"kind": "isotonic", "points": [], "values": [], "clip": 0.0}, "at least one"),
        ({"kind": "isotonic", "points": [0.1, 0.2], "values": [0.5], "clip": 0.0}, "as many"),
        ({"kind": "isotonic", "points": [0.1, 0.2], "values": [0.5, 0.4], "clip": 0.0}, "rise"),
        ({"kind": "isotonic", "points": [0.2, 0.2], "values": [0.4, 0.5], "clip": 0.0}, "rise"),
        ({"kind": "isotonic", "points": [0.2], "values": [1.5], "clip": 0.0}, "range"),
        ({"kind": "isotonic", "points": [0.2], "values": [0.5], "clip": 0.6}, "range"),
    ],
)
def test_a_map_that_is_none_is_refused(values: dict[str, Any], words: str) -> None:
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

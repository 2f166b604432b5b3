"""What a field takes, from text."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.sweep.values import Choices, Multiple, Range, read_values

FINITE = st.floats(min_value=-1e6, max_value=1e6, allow_nan=False)
POSITIVE = st.floats(min_value=1e-9, max_value=1e6)
VALUE = st.one_of(
    st.integers(-(10**6), 10**6),
    FINITE,
    st.booleans(),
    st.none(),
    st.text(max_size=8),
    st.lists(st.integers(1, 2048), max_size=3),
)


@given(st.lists(VALUE, min_size=1, max_size=5, unique_by=json.dumps))
def test_a_list_is_read_back_as_it_was_written(values: list[object]) -> None:
    found = read_values(str(Choices(tuple(values))))
    assert isinstance(found, Choices)
    assert list(map(json.dumps, found.values)) == list(map(json.dumps, values))


@given(st.booleans(), POSITIVE, POSITIVE)
def test_a_range_is_read_back_as_it_was_written(log: bool, one: float, other: float) -> None:
    low, high = sorted((one, other))
    if low == high:
        with pytest.raises(ValueError, match="does not rise"):
            Range(low, high, log=log)
        return
    written = Range(low, high, log=log)
    assert read_values(str(written)) == written


@given(st.integers(1, 1000), st.integers(1, 100), st.integers(1, 20))
def test_the_grid_of_steps_begins_low_never_passes_high_and_rises_evenly(low: int, step: int, count: int) -> None:
    values = Range(low, low + step * count, step=step, whole=True).grid()
    assert values is not None
    assert values == tuple(range(low, low + step * count + 1, step))


@given(FINITE, st.floats(1e-3, 1e3), st.integers(1, 30))
def test_a_grid_of_fractions_stays_within_its_range(low: float, step: float, count: int) -> None:
    found = Range(low, low + step * (count + 0.5), step=step).grid()
    assert found is not None
    assert len(found) == count + 1
    assert max(found) <= low + step * (count + 0.5)


@given(st.booleans(), POSITIVE, st.floats(1.5, 1e4), st.floats(0.0, 1.0))
def test_edges_are_the_outer_twentieths_and_nothing_else(log: bool, low: float, factor: float, share: float) -> None:
    high = low * factor
    value = low * factor**share if log else low + share * (high - low)
    found = Range(low, high, log=log).edge_of(value)
    if abs(share - 0.05) > 1e-6 and abs(share - 0.95) > 1e-6:
        assert found == ("low" if share < 0.05 else "high" if share > 0.95 else None)


@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=6, unique=True), st.data())
def test_the_least_and_the_greatest_of_a_list_are_its_edges_in_any_order(
    numbers: list[int], data: st.DataObject
) -> None:
    value = data.draw(st.sampled_from(numbers))
    expected = "low" if value == min(numbers) else "high" if value == max(numbers) else None
    assert Choices(tuple(numbers)).edge_of(value) == expected


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    said = ""
    try:
        assert isinstance(read_values(text), Choices | Range | Multiple)
    except ValueError as error:
        said = str(error)
    assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no value"),
        ("1e-3..1e-5", "does not rise"),
        ("log:0..1", "no logarithm"),
        ("log:1e-5", "is no range"),
        ("1..", "is no range"),
        ("0..1/2", "no such step"),
        ("8,8", "names 8 twice"),
        ("8,16,8.0", "names 8 twice"),
        ("8,,16", "empty value"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_values(text)


def test_a_multiple_keeps_whole_numbers_whole() -> None:
    found = read_values(" 2 * lora.lora_r ")
    assert found == Multiple(2, "lora.lora_r")
    assert isinstance(found.of(8), int)
    assert found.of(8) == 16
    assert math.isclose(Multiple(0.1, "x").of(1e-4), 1e-5)

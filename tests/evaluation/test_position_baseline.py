"""The position baseline."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surestep.errors import DataError
from surestep.evaluation.baselines.simple import position_baseline

# Seeded like all tests; no deadline, because other work may share the machine.
QUICK = settings(derandomize=True, deadline=None, max_examples=60)


def test_position_baseline_is_the_smoothed_mean_of_each_position() -> None:
    positions, labels = [1, 1, 1, 2], [1.0, 1.0, 0.5, 0.0]
    mean = 2.5 / 4
    expected = [(2.5 + 10 * mean) / 13, (0.0 + 10 * mean) / 11, mean, mean]
    assert position_baseline(positions, labels, [1, 2, 3, 10**9]) == pytest.approx(expected, abs=1e-12)


def test_position_baseline_comes_close_to_the_plain_mean_with_many_steps() -> None:
    positions = np.repeat([1, 2], 10_000)
    labels = np.repeat([0.9, 0.1], 10_000)
    # 10 pseudo-steps of 0.5 among 10,000 move the mean by 0.4 * 10 / 10,010.
    assert position_baseline(positions, labels, [1, 2]) == pytest.approx([0.9, 0.1], abs=4.1e-4)


@QUICK
@given(
    rows=st.lists(st.tuples(st.integers(1, 20), st.floats(0, 1)), min_size=1, max_size=50),
    wanted=st.lists(st.integers(-5, 40), max_size=20),
)
def test_position_baseline_lies_between_the_least_and_greatest_label(
    rows: list[tuple[int, float]], wanted: list[int]
) -> None:
    positions, labels = [row[0] for row in rows], [row[1] for row in rows]
    predicted = position_baseline(positions, labels, wanted)
    assert predicted.shape == (len(wanted),)
    assert all(min(labels) - 1e-12 <= value <= max(labels) + 1e-12 for value in predicted)
    assert ((predicted >= 0.0) & (predicted <= 1.0)).all()


def test_position_baseline_refuses_what_it_cannot_learn_from() -> None:
    with pytest.raises(DataError, match="no training label"):
        position_baseline([], [], [1])
    with pytest.raises(DataError, match=r"row 1 .*training label"):
        position_baseline([1, 2], [0.5, 2.0], [1])
    with pytest.raises(ValueError, match="pseudo_count 0"):
        position_baseline([1], [0.5], [1], pseudo_count=0)

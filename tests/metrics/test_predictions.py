"""Predictions refuse what cannot be measured, naming the row, and split and join without loss."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from surestep.errors import DataError
from surestep.metrics import Predictions


def make(**changes: Any) -> Predictions:
    """Four steps: two problems of `a`, one of `b`; `c` has none."""
    columns: dict[str, Any] = {
        "confidence": np.array([0.1, 0.9, 0.5, 1.0]),
        "label": np.array([0.0, 1.0, 0.5, 1.0]),
        "dataset": np.array([0, 0, 0, 1]),
        "dataset_names": ("a", "b", "c"),
        "problem": np.array([0, 0, 1, 2]),
        "position": np.array([1, 2, 1, 1]),
    }
    return Predictions(**(columns | changes))


def test_counts_steps_and_problems() -> None:
    assert (len(make()), make().num_problems) == (4, 3)


def test_true_confidence_left_out_is_unknown_everywhere() -> None:
    assert np.isnan(make().true_confidence).tolist() == [True] * 4


def test_raw_confidence_left_out_is_the_confidence() -> None:
    assert make().raw_confidence.tolist() == make().confidence.tolist()


def test_raw_confidence_goes_wherever_its_row_goes() -> None:
    raw = np.array([0.4, 0.3, 0.2, 0.1])
    whole = make(raw_confidence=raw)
    mask = np.array([True, False, True, False])
    assert whole.select(mask).raw_confidence.tolist() == [0.4, 0.2]
    joined = Predictions.concatenate([whole.select(mask), make()])
    assert joined.raw_confidence.tolist() == [0.4, 0.2, *make().confidence.tolist()]


def test_another_scorers_confidence_replaces_the_raw_one_too() -> None:
    other = np.array([0.4, 0.3, 0.2, 0.1])
    raw = np.array([0.5, 0.6, 0.7, 0.8])
    assert make(raw_confidence=raw).with_confidence(other).raw_confidence.tolist() == other.tolist()
    assert make().with_confidence(other, raw).raw_confidence.tolist() == raw.tolist()
    assert make().with_confidence(other, raw).confidence.tolist() == other.tolist()


def test_is_read_only_and_apart_from_the_arrays_it_was_made_of() -> None:
    confidence = np.array([0.1, 0.9, 0.5, 1.0])
    predictions = make(confidence=confidence)
    confidence[0] = 0.7
    assert predictions.confidence[0] == 0.1
    with pytest.raises(ValueError, match="read-only"):
        predictions.confidence[0] = 0.3
    with pytest.raises(dataclasses.FrozenInstanceError):
        predictions.label = confidence  # type: ignore[misc]


@pytest.mark.parametrize("bad", [-0.5, 1.5, math.nan, math.inf])
@pytest.mark.parametrize("column", ["confidence", "label", "true_confidence", "raw_confidence"])
def test_a_value_outside_the_unit_interval_is_refused_with_the_first_row(column: str, bad: float) -> None:
    values = np.array([0.5, 0.5, bad, bad])
    if column == "true_confidence" and math.isnan(bad):
        assert np.isnan(make(true_confidence=values).true_confidence).tolist() == [False, False, True, True]
        return
    with pytest.raises(DataError, match=rf"row 2 .*{column} .*allowed: 0 to 1"):
        make(**{column: values})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": np.array([0.0, 1.0])}, r"4 confidences but label of shape \(2,\)"),
        ({"position": np.array([1, 2])}, r"4 confidences but position of shape \(2,\)"),
        ({"confidence": np.array([[0.1, 0.9], [0.5, 1.0]])}, r"confidence of shape \(2, 2\)"),
        ({"dataset": np.array([0, 0, 0, 3])}, "row 3 .*dataset 3; allowed: 0 to 2"),
        ({"dataset": np.array([0, -1, 0, 1])}, "row 1 .*dataset -1; allowed: 0 to 2"),
        ({"problem": np.array([0, 0, -1, 2])}, "row 2 .*problem -1; allowed: at least 0"),
        ({"position": np.array([1, 0, 1, 1])}, "row 1 .*position 0; allowed: at least 1"),
        ({"position": np.array([1.5, 1, 1, 1])}, "position is of type float64; allowed: whole numbers"),
        ({"problem": np.array([0, 0, 1, 0])}, "row 3 .*problem 0 in dataset 'b'"),
        ({"problem": np.array([0, 1, 0, 2]), "dataset": np.array([1, 0, 0, 1])}, "row 2 .*dataset 'a'"),
        ({"dataset_names": ("a", "b", "a")}, "'a' more than once"),
    ],
)
def test_columns_that_contradict_each_other_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(**changes)


def test_select_keeps_all_columns_in_step() -> None:
    part = make(true_confidence=np.array([0.0, 1.0, math.nan, 1.0])).select(np.array([False, True, False, True]))
    assert part.confidence.tolist() == [0.9, 1.0]
    assert part.label.tolist() == [1.0, 1.0]
    assert part.dataset.tolist() == [0, 1]
    assert part.problem.tolist() == [0, 2]
    assert part.position.tolist() == [2, 1]
    assert part.true_confidence.tolist() == [1.0, 1.0]
    assert part.dataset_names == ("a", "b", "c")


def test_select_refuses_a_mask_of_another_length_or_of_indices() -> None:
    with pytest.raises(ValueError, match="mask"):
        make().select(np.array([True]))
    with pytest.raises(ValueError, match="mask"):
        make().select(np.array([0, 1, 1, 0]))  # type: ignore[arg-type]


def test_datasets_split_the_rows_and_one_may_be_empty() -> None:
    assert [len(make().for_dataset(name)) for name in ("a", "b", "c")] == [3, 1, 0]
    with pytest.raises(DataError, match="'d'; allowed: a, b, c"):
        make().for_dataset("d")


def test_pieces_of_one_run_join_to_the_whole_with_their_problem_numbers() -> None:
    whole = make()
    order = np.array([True, False, True, False])
    joined = Predictions.concatenate([whole.select(order), whole.select(~order)])
    assert joined.confidence.tolist() == [0.1, 0.5, 0.9, 1.0]
    assert joined.problem.tolist() == [0, 1, 0, 2]
    assert joined.num_problems == 3


def test_datasets_numbered_each_from_zero_stay_different_problems() -> None:
    other = make(dataset_names=("x", "b", "c"))
    joined = Predictions.concatenate([make(), other])
    assert joined.dataset_names == ("a", "b", "c", "x")
    assert len(joined) == 8
    # a: 2, x: 2, and b's problem 2 stands under one name in both: the same problem.
    assert joined.num_problems == 5
    assert joined.for_dataset("x").num_problems == 2
    assert joined.for_dataset("b").num_problems == 1


def test_joining_survives_huge_problem_numbers() -> None:
    large = np.array([0, 0, 1, 2]) + 2**62
    joined = Predictions.concatenate([make(problem=large), make(problem=large, dataset_names=("x", "y", "z"))])
    assert joined.num_problems == 6


def test_joining_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="no predictions to concatenate"):
        Predictions.concatenate([])

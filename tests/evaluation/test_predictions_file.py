"""Reading and writing `predictions.jsonl`."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surestep.errors import DataError
from surestep.scoring.predictions_file import read_predictions, write_rows

ROWS: list[dict[str, Any]] = [
    {"dataset": "a", "problem_id": "p", "step": 0, "position": 1, "confidence": 0.1, "label": 0.0},
    {"dataset": "a", "problem_id": "p", "step": 1, "position": 2, "confidence": 0.1 + 0.2, "label": 0.25},
    {"dataset": "b", "problem_id": "p", "position": 1, "confidence": 1, "label": 1, "true_confidence": 0.9},
    {"dataset": "b", "problem_id": "q", "position": 1, "confidence": 0.5, "label": None},
]


def written(tmp_path: Path, rows: list[dict[str, Any]]) -> Path:
    path = tmp_path / "predictions.jsonl"
    assert write_rows(path, rows) == len(rows)
    return path


def test_what_was_written_is_read_to_the_last_digit(tmp_path: Path) -> None:
    found = read_predictions(written(tmp_path, ROWS))
    columns = found.predictions
    assert found.num_unlabelled == 1
    assert sum(found.unlabelled.values()) == 1
    assert columns.confidence.tolist() == [0.1, 0.1 + 0.2, 1.0]
    assert columns.label.tolist() == [0.0, 0.25, 1.0]
    assert columns.position.tolist() == [1, 2, 1]
    assert columns.dataset_names == ("a", "b")
    assert np.isnan(columns.true_confidence).tolist() == [True, True, False]
    # The same id in two datasets is two problems.
    assert columns.problem.tolist() == [0, 0, 1]


def test_nothing_but_confidence_and_label_is_needed(tmp_path: Path) -> None:
    rows = [{"confidence": 0.3, "label": True}, {"confidence": 0.6, "label": 0.5}]
    columns = read_predictions(written(tmp_path, rows)).predictions
    assert columns.label.tolist() == [1.0, 0.5]
    assert columns.dataset_names == ("all",)
    assert columns.num_problems == 2
    assert columns.position.tolist() == [1, 1]


def test_the_raw_confidence_is_read_where_a_row_has_one(tmp_path: Path) -> None:
    rows = [{"confidence": 0.3, "label": 1, "raw_confidence": 0.9}, {"confidence": 0.6, "label": 0}]
    assert read_predictions(written(tmp_path, rows)).predictions.raw_confidence.tolist() == [0.9, 0.6]


def test_a_gzipped_file_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS).encode()))
    assert len(read_predictions(path).predictions) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"confidence": 1.2}, "confidence is 1.2; allowed: a number from 0 to 1"),
        ({"confidence": -0.1}, "confidence is -0.1"),
        ({"confidence": "high"}, "confidence is 'high'"),
        ({"confidence": None}, "the row has no confidence"),
        ({"confidence": math.nan}, "confidence is nan"),
        ({"label": 2}, "label is 2"),
        ({"label": [1]}, "label is"),
        ({"position": 0}, "position is 0; allowed: a whole number from 1"),
        ({"position": 1.5}, "position is 1.5"),
        ({"true_confidence": 7}, "true_confidence is 7"),
        ({"raw_confidence": 1.5}, "raw_confidence is 1.5"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = tmp_path / "scorer.jsonl"
    rows = [*ROWS[:2], {**ROWS[0], **change}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_predictions(path)
    assert f"{path}, line 3: " in str(caught.value)
    assert words in str(caught.value)


def test_a_file_without_any_label_has_nothing_to_measure(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no row has a label"):
        read_predictions(written(tmp_path, [{"confidence": 0.5, "label": None}]))


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jsonl"):
        read_predictions(tmp_path / "gone.jsonl")


def test_a_failed_write_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = written(tmp_path, ROWS)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="Out of range float"):
        write_rows(path, [{"confidence": math.nan}])
    assert path.read_bytes() == before

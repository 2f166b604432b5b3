"""Numbers and texts of Parquet and Arrow files in every Arrow type: what is a number is read, all else named."""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.data.datasets.own import read_own
from surestep.data.records.arrow_file import with_plain_numbers
from surestep.data.records.given_rows import file_of_rows
from surestep.data.records.reading_report import ReadReport
from surestep.errors import DataError
from surestep.evaluation.evaluate import evaluate_predictions
from surestep.inference.generation.table_task import gold_of
from surestep.inference.tables.rows import Row, read_rows
from surestep.scoring.predictions_file import read_predictions

D = decimal.Decimal
NUMBERS = {
    "decimal128": pyarrow.decimal128(20, 3),
    "decimal256": pyarrow.decimal256(60, 30),
    "float16": pyarrow.float16(),
    "float32": pyarrow.float32(),
    "dictionary": pyarrow.dictionary(pyarrow.int32(), pyarrow.float64()),
}
WHOLE = {
    "uint64": pyarrow.uint64(),
    "int8": pyarrow.int8(),
    "decimal128": pyarrow.decimal128(20, 0),
    "decimal with places": pyarrow.decimal128(20, 4),
}
TEXTS = {
    "large": pyarrow.large_string(),
    "view": pyarrow.string_view(),
    "dictionary": pyarrow.dictionary(pyarrow.int16(), pyarrow.string()),
    "large dictionary": pyarrow.dictionary(pyarrow.int64(), pyarrow.large_string()),
}
NO_NUMBERS = {
    "timestamp": pyarrow.array([datetime.datetime(2026, 1, 2)] * 2),
    "date": pyarrow.array([datetime.date(2026, 1, 2)] * 2),
    "time": pyarrow.array([datetime.time(1)] * 2),
    "duration": pyarrow.array([datetime.timedelta(1)] * 2),
    "binary": pyarrow.array([b"\xff", b"1"]),
    "struct": pyarrow.array([{"a": 1}] * 2),
    "list": pyarrow.array([[1]] * 2),
}


def column(values: list[Any], kind: pyarrow.DataType) -> pyarrow.Array:
    if pyarrow.types.is_decimal(kind):
        return pyarrow.array([None if one is None else D(str(one)) for one in values], kind)
    if pyarrow.types.is_dictionary(kind):
        return pyarrow.array(values, kind.value_type).dictionary_encode().cast(kind)
    return pyarrow.array(values, kind)


def written(folder: Path, columns: dict[str, pyarrow.Array], ending: str) -> Path:
    path, table = folder / f"rows{ending}", pyarrow.table(columns)
    if ending == ".parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        with pyarrow.ipc.new_file(path, table.schema) as file:
            file.write_table(table)
    return path


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
@pytest.mark.parametrize("kind", NUMBERS)
def test_confidences_and_labels_are_numbers_in_any_type_of_number(tmp_path: Path, kind: str, ending: str) -> None:
    values = [0.5, 0.25, None]
    columns = {"label": column(values, NUMBERS[kind]), "confidence": column([0.75, 0.0, 1.0], NUMBERS[kind])}
    for text in TEXTS:
        names = column(["a", "b", "a"], TEXTS[text])
        path = written(tmp_path, columns | {"problem_id": names, "text": names, "problem": names}, ending)
        found = read_predictions(path)
        assert found.confidence.tolist() == [0.75, 0.0, 1.0]
        assert found.label.tolist()[:2] == [0.5, 0.25]
        assert found.tree_ids == ["a", "b"]


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
@pytest.mark.parametrize("kind", WHOLE)
def test_whole_numbers_are_whole_in_any_type(tmp_path: Path, kind: str, ending: str) -> None:
    whole = WHOLE[kind]
    columns = {"step": column([0, 1], whole), "label": column([1, 0], whole), "problem_id": column([7, 7], whole)}
    path = written(tmp_path, columns | {"confidence": pyarrow.array([0.5, 0.5])}, ending)
    found = read_predictions(path)
    assert (found.step.tolist(), found.label.tolist(), found.tree_ids) == ([0, 1], [1.0, 0.0], ["7"])


@pytest.mark.parametrize("kind", [kind for kind in NUMBERS if kind != "dictionary"])  # which pyarrow puts in no list
@pytest.mark.parametrize("listed", [pyarrow.list_, pyarrow.large_list, lambda kind: pyarrow.list_(kind, 2)])
def test_training_labels_may_lie_in_lists_and_objects(tmp_path: Path, kind: str, listed: Any) -> None:
    flat = column([1, 0.5], NUMBERS[kind])
    labels = pyarrow.ListArray.from_arrays([0, 2], flat).cast(listed(NUMBERS[kind]))
    steps = pyarrow.array([["a", "b"]], pyarrow.large_list(pyarrow.string_view()))
    path = written(tmp_path, {"problem": pyarrow.array(["p"]), "steps": steps, "labels": labels}, ".arrow")
    (tree,) = read_own([path], report=ReadReport())
    assert [node.confidence for node in tree.nodes] == [1.0, 0.5]


@pytest.mark.parametrize("kind", NO_NUMBERS)
@pytest.mark.parametrize("name", ["label", "confidence"])
def test_what_is_no_number_is_named(tmp_path: Path, kind: str, name: str) -> None:
    columns = {"label": pyarrow.array([1, 0]), "confidence": pyarrow.array([0.5, 0.5])}
    path = written(tmp_path, columns | {name: NO_NUMBERS[kind]}, ".parquet")
    with pytest.raises(DataError) as caught:
        evaluate_predictions(path, output_dir=tmp_path / "out")
    assert f"{name} is " in str(caught.value)
    assert "allowed: a number from 0 to 1" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_frame_of_decimals_is_the_file_of_its_numbers(tmp_path: Path) -> None:
    table = pyarrow.table({"label": column([1, 0.1, None], NUMBERS["decimal128"])})
    path = file_of_rows(table, tmp_path)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"label": 1},
        {"label": 0.1},
        {"label": None},
    ]
    rows = [{"a": D("0.50"), "b": [D("NaN"), D("12345678901234567890"), D("Infinity")]}]
    (line,) = file_of_rows(rows, tmp_path).read_text().splitlines()
    assert line == '{"a": 0.5, "b": [null, 12345678901234567890, "Infinity"]}'


def test_a_table_keeps_its_decimals_and_an_answer_may_be_one(tmp_path: Path) -> None:
    path = written(tmp_path, {"answer": column([1.5, 100], pyarrow.decimal128(9, 1))}, ".parquet")
    rows = [row for row in read_rows(path, "parquet") if isinstance(row, Row)]
    assert [gold_of(row.values, "answer") for row in rows] == ["1.5", "100.0"]
    assert rows[0].values == {"answer": D("1.5")}


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**20), max_value=10**20))
def test_a_decimal_is_what_json_would_read(value: decimal.Decimal) -> None:
    found = with_plain_numbers([{"a": value}])[0]["a"]
    assert found == (int(value) if value % 1 == 0 else json.loads(f"{value:f}"))

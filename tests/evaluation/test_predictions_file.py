"""Reading and writing `predictions.jsonl`."""

from __future__ import annotations

import csv
import dataclasses
import gc
import gzip
import json
import math
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from surestep.config import EvalConfig
from surestep.errors import DataError, SurestepError
from surestep.evaluation.evaluate import evaluate_predictions
from surestep.evaluation.results.predictions import check_whole, predictions_beside
from surestep.scored import ListedTexts
from surestep.scoring.predictions.row_columns import RowColumns
from surestep.scoring.predictions_file import (
    RowsInView,
    read_predictions,
    rows_of,
    steps_of_rows,
    write_predictions,
    write_rows,
)

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


WHOLE = (
    {"problem_id": 7, "step": 0, "parent": -1, "position": 1, "num_ratings": 3, "label": 1, "true_confidence": None},
    {"problem_id": 7, "step": 2, "parent": 0, "position": 2, "num_ratings": 0, "label": None, "group": None},
    {"problem_id": 7, "step": 3, "parent": 0, "position": 2, "num_ratings": None, "label": 0, "dataset": None},
    {"problem_id": 8, "step": 0, "parent": -1, "position": None, "num_ratings": 1, "label": 0, "group": 5},
)


def test_whole_numbers_written_as_floats_and_nan_for_null_are_what_they_were(tmp_path: Path) -> None:
    """A program that keeps columns as floats changes no tree, no problem and no count."""

    def as_floats(value: Any) -> Any:
        return math.nan if value is None else float(value)

    found = []
    for write in (lambda value: value, as_floats):
        rows = [{name: write(value) for name, value in row.items()} | {"confidence": 0.5} for row in WHOLE]
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        found.append(read_predictions(path))
    plain, floats = found
    for name in ("label", "true_confidence", "num_ratings", "problem", "tree", "step", "parent", "position", "dataset"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(floats, name), name)
    np.testing.assert_array_equal(plain.problem_keys, floats.problem_keys)
    assert plain.tree_ids == floats.tree_ids == ["7", "8"]
    assert plain.dataset_names == floats.dataset_names == ("all",)
    assert floats.parent.tolist() == [-1, 0, 0, -1]
    assert floats.num_ratings.tolist() == [3, 0, 0, 1]


def test_what_was_written_is_read_to_the_last_digit(tmp_path: Path) -> None:
    found = read_predictions(written(tmp_path, ROWS))
    assert np.isnan(found.label).tolist() == [False, False, False, True]
    columns = found.measured()
    assert columns.confidence.tolist() == [0.1, 0.1 + 0.2, 1.0]
    assert columns.label.tolist() == [0.0, 0.25, 1.0]
    assert columns.position.tolist() == [1, 2, 1]
    assert columns.dataset_names == ("a", "b")
    assert np.isnan(columns.true_confidence).tolist() == [True, True, False]
    # The same id in two datasets is two problems.
    assert columns.problem.tolist() == [0, 0, 1]


def test_nothing_but_confidence_and_label_is_needed(tmp_path: Path) -> None:
    rows = [{"confidence": 0.3, "label": True}, {"confidence": 0.6, "label": 0.5}]
    columns = read_predictions(written(tmp_path, rows))
    assert columns.label.tolist() == [1.0, 0.5]
    assert columns.dataset_names == ("all",)
    assert columns.num_problems == 2
    assert columns.position.tolist() == [1, 1]


def test_the_raw_confidence_is_read_where_a_row_has_one(tmp_path: Path) -> None:
    rows = [{"confidence": 0.3, "label": 1, "raw_confidence": 0.9}, {"confidence": 0.6, "label": 0}]
    assert read_predictions(written(tmp_path, rows)).raw_confidence.tolist() == [0.9, 0.6]


def test_a_gzipped_file_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS).encode()))
    assert len(read_predictions(path)) == 4


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
        ({"step": 0.5}, "step is 0.5; allowed: a whole number from 0"),
        ({"step": -1}, "step is -1"),
        ({"step": "1"}, "step is '1'"),
        ({"parent": -2}, "parent is -2; allowed: a whole number from -1"),
        ({"num_ratings": 2.5}, "num_ratings is 2.5"),
        ({"group": 1.5}, "'group' is 1.5; allowed: text or a whole number"),
        ({"dataset": ["a"]}, "'dataset' is ['a']"),
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


def test_a_problem_is_its_group_else_its_text_else_its_id_else_the_row() -> None:
    rows: list[dict[str, Any]] = [
        {"dataset": "a", "problem_id": "1", "problem": "What is 1 + 1?"},
        {"dataset": "a", "problem_id": "2", "problem": "what is  1 + 1"},  # another solution of the same problem
        {"dataset": "b", "problem_id": "1", "problem": "What is 1 + 1?"},  # and in another dataset
        {"dataset": "a", "problem_id": "3", "problem": "What is 1 + 1?", "group": "g"},
        {"dataset": "a", "problem_id": "4", "problem": "What is 1 + 2?", "group": "g"},
        {"dataset": "b", "problem_id": "4", "problem": "What is 1 + 2?", "group": "g"},  # another dataset's "g"
        {"dataset": "a", "problem_id": "5"},
        {"dataset": "a", "problem_id": "5"},
        {"dataset": "b", "problem_id": "5"},
        {"dataset": "a"},
        {"dataset": "a"},
    ]
    steps = steps_of_rows((row | {"confidence": 0.5, "label": 1.0}, None) for row in rows)
    assert steps.problem.tolist() == [0, 0, 0, 1, 1, 2, 3, 3, 4, 5, 6]
    assert steps.measured().problem.tolist() == steps.problem.tolist()


SPELLINGS = [7, 7.0, "7", " 7", "7\n"]
NONE = [None, math.nan, "", " "]


@given(st.data())
def test_a_name_is_one_however_it_is_written_and_nan_is_none(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    def spelled(plain: str | None) -> object:
        return data.draw(
            st.sampled_from(NONE if plain is None else SPELLINGS if plain == "7" else [plain, f"{plain} "])
        )

    names = st.sampled_from([None, "7", "a"])
    plain = [{name: data.draw(names) for name in ("dataset", "problem_id", "group")} for _ in range(6)]
    rows = [
        {"confidence": 0.5, "label": 1.0, "step": data.draw(st.sampled_from([number, float(number)]))}
        | {name: spelled(value) for name, value in row.items()}
        for number, row in enumerate(plain)
    ]
    expected = [
        {"confidence": 0.5, "label": 1.0, "step": number} | {name: value for name, value in row.items() if value}
        for number, row in enumerate(plain)
    ]
    path = tmp_path_factory.mktemp("names") / "theirs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found, right = read_predictions(path), steps_of_rows((row, None) for row in expected)
    assert found.problem.tolist() == right.problem.tolist()
    assert (found.dataset_names, list(found.tree_ids)) == (right.dataset_names, list(right.tree_ids))
    assert (found.step.tolist(), found.tree.tolist()) == (list(range(6)), right.tree.tolist())


def test_a_group_of_nan_or_zero_counts_as_it_was_meant() -> None:
    """As `json.dumps` writes a data frame's missing value; a group numbered 0 is a group."""
    rows = [{"confidence": 0.5, "label": 1.0, "problem_id": str(number)} for number in range(4)]
    nan = steps_of_rows((row | {"group": math.nan}, None) for row in rows)
    assert nan.num_problems == 4
    assert steps_of_rows((row | {"group": number % 2}, None) for number, row in enumerate(rows)).num_problems == 2


STEPS = st.lists(
    st.fixed_dictionaries(
        {
            "dataset": st.sampled_from("ab"),
            "problem_id": st.sampled_from(["1", "2"]),
            "confidence": st.floats(0, 1),
            "raw_confidence": st.floats(0, 1),
            "label": st.one_of(st.none(), st.floats(0, 1)),
            "num_ratings": st.integers(0, 5),
            "problem": st.sampled_from(["p?", "q?"]),
            "text": st.sampled_from(["s", "ü\u2028\n"]),
        },
        optional={
            "group": st.sampled_from(["", "g"]),
            "context": st.sampled_from(["", "seen"]),
            "true_confidence": st.floats(0, 1),
            "position": st.integers(1, 9),
            "step": st.integers(0, 5),
            "parent": st.integers(-1, 5),
        },
    ),
    min_size=1,
)


def repeated(rows: list[dict[str, Any]]) -> int:
    """How many rows are of a step that an earlier row is of; without a number, one behind the last of its tree."""
    last: dict[tuple[str, str], int] = {}
    seen: set[tuple[str, str, int]] = set()
    for row in rows:
        tree = row["dataset"], row["problem_id"]
        last[tree] = row.get("step", last.get(tree, -1) + 1)
        seen.add((*tree, last[tree]))
    return len(rows) - len(seen)


@given(rows=STEPS, ending=st.sampled_from([".jsonl", ".jsonl.gz"]))
def test_any_steps_come_back(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], ending: str) -> None:
    rows[0]["label"] = 0.5
    if repeats := repeated(rows):
        with pytest.raises(DataError, match=f"is in the file twice .*; rows too many: {repeats};"):
            steps_of_rows((row, None) for row in rows)
        return
    steps = steps_of_rows((row, None) for row in rows)
    path = tmp_path_factory.mktemp("any") / f"predictions{ending}"
    assert write_predictions(path, steps) == len(rows)
    again = read_predictions(path)
    for name in ("confidence", "raw_confidence", "label", "true_confidence", "num_ratings", "position"):
        np.testing.assert_array_equal(getattr(again, name), getattr(steps, name), name)
    for name in ("dataset", "problem", "tree", "step", "parent", "dataset_names", "problem_keys", "tree_ids"):
        np.testing.assert_array_equal(getattr(again, name), getattr(steps, name), name)
    assert list(rows_of(again)) == list(rows_of(steps))


SOLUTION = {"dataset": "a", "id": "p", "confidences": [0.5, 0.25], "label": -1}
STEP = {"dataset": "a", "problem_id": "p", "step": 1, "confidence": 0.25, "label": 1.0}


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
@pytest.mark.parametrize(
    ("rows", "line", "words"),
    [
        ([STEP, STEP | {"step": 2}, STEP, STEP], 3, "a / p / 1 is in the file twice (line 1 has it with the same num"),
        ([STEP, STEP, STEP], 2, "; rows too many: 2; keep one row of each step"),
        ([STEP, STEP | {"confidence": 0.5}], 2, "with another confidence); rows too many: 1;"),
        ([STEP, STEP | {"label": 0.0}], 2, "with another label)"),
        ([STEP, STEP | {"label": None}], 2, "with another label)"),
        ([STEP | {"raw_confidence": 0.1}, STEP | {"raw_confidence": 0.2}], 2, "with another raw confidence)"),
        ([STEP | {"true_confidence": 0.1}, STEP | {"true_confidence": 0.2}], 2, "with another true confidence)"),
        ([STEP | {"problem_id": 7}, STEP | {"problem_id": "7 ", "step": 1.0}], 2, "a / 7 / 1 is in the file twice"),
        ([SOLUTION, SOLUTION | {"id": "q"}, SOLUTION], 3, "a / p / 0 is in the file twice (line 1 has it with the sa"),
        ([SOLUTION, SOLUTION | {"label": 0}], 2, "with another label); rows too many: 2;"),
    ],
)
def test_a_step_that_stands_twice_is_counted_and_named(
    tmp_path: Path, rows: list[dict[str, Any]], line: int, words: str, ending: str
) -> None:
    path = tmp_path / f"twice{ending}"
    if ending == ".csv":
        spelled = [{name: "" if value is None else json.dumps(value) for name, value in row.items()} for row in rows]
        plain = [{name: text.strip('"') for name, text in row.items()} for row in spelled]
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(plain)
        line += 1  # the header
        words = re.sub(r"line (\d+)", lambda found: f"line {int(found[1]) + 1}", words)
    else:
        write_rows(path, rows)
    with pytest.raises(DataError) as caught:
        evaluate_predictions(path, output_dir=tmp_path / "out")
    assert f"line {line}: " in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_rows_without_a_name_or_of_other_datasets_are_steps_of_their_own(tmp_path: Path) -> None:
    rows = [{"confidence": 0.5, "label": 1, "step": 0}, {"confidence": 0.5, "label": 1, "step": 0}]
    assert len(read_predictions(written(tmp_path, rows))) == 2
    assert len(read_predictions(written(tmp_path, [STEP, STEP | {"dataset": "b"}]))) == 2


def test_steps_without_a_score_are_left_out(tmp_path: Path) -> None:
    steps = steps_of_rows((row, None) for row in ROWS)
    confidence = steps.confidence.copy()
    confidence[1] = np.nan
    assert write_predictions(tmp_path / "p.jsonl", steps.with_confidence(confidence)) == len(ROWS) - 1


def test_trees_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Else the steps of one would be taken for the other's where runs are compared."""
    steps = steps_of_rows((row, None) for row in [ROWS[0], ROWS[0] | {"problem_id": "q"}])
    same = dataclasses.replace(steps, tree_ids=["p", "p"], texts=ListedTexts(["x", "x"], ["s", "s"]))
    assert [row["problem_id"] for row in rows_of(same)] == ["p", "p#2"]
    nameless = dataclasses.replace(same, tree_ids=["", ""])
    assert [row["problem_id"] for row in rows_of(nameless)] == ["x", "x#2"]


def test_the_same_steps_are_the_same_bytes_compressed_too(tmp_path: Path) -> None:
    steps = steps_of_rows((row, None) for row in ROWS)
    for name in ("one.jsonl.gz", "two.jsonl.gz"):
        write_predictions(tmp_path / name, steps)
    assert (tmp_path / "one.jsonl.gz").read_bytes() == (tmp_path / "two.jsonl.gz").read_bytes()


def test_the_predictions_of_a_folder_are_found_compressed_or_plain(tmp_path: Path) -> None:
    assert predictions_beside(tmp_path) == ()
    plain = written(tmp_path, ROWS)
    assert predictions_beside(tmp_path) == (plain,)
    write_rows(tmp_path / "predictions.jsonl.gz", ROWS)
    assert predictions_beside(tmp_path) == (tmp_path / "predictions.jsonl.gz", plain)


def test_a_file_too_large_for_any_reader_is_refused_before_it_is_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SURESTEP_MAX_UNPACKED_MIB", "1")
    path = tmp_path / "predictions.jsonl.gz"
    with path.open("wb") as file:
        file.truncate(2**20 + 1)
    monkeypatch.setattr("surestep.evaluation.results.predictions.sha256_of", lambda _path: pytest.fail("it was hashed"))
    with pytest.raises(DataError, match="more than 1 MiB; where that is meant, set SURESTEP_MAX_UNPACKED_MIB higher"):
        check_whole({"predictions_sha256": "0" * 64}, path)


@pytest.mark.slow
@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.sampled_from([0, 0.5, 1, None]),
            st.sampled_from([0.2, 0.9, None]),
            st.integers(-1, 2),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_labels_and_confidences_are_measured_or_refused_in_one_line(
    tmp_path: Path, rows: list[tuple[str, float | None, float | None, int]]
) -> None:
    """A dataset without a label, without a confidence, with solutions that are not whole, or without any step left."""
    path = tmp_path / "any.jsonl"
    write_rows(
        path,
        [
            {
                "problem_id": dataset,
                "dataset": dataset,
                "step": number,
                "parent": min(parent, number - 1),
                "label": label,
                "confidence": confidence,
                "problem": "p",
                "text": "t",
            }
            for number, (dataset, label, confidence, parent) in enumerate(rows)
        ],
    )
    settings, refusal = EvalConfig(bootstrap_resamples=10), ""
    try:
        found = evaluate_predictions(path, output_dir=tmp_path / "out", settings=settings, with_page=False)
    except SurestepError as error:
        refusal = str(error)
    else:
        assert found.report["overall"]["num_steps"] > 0
    assert "\n" not in refusal


@given(st.data())
def test_rows_in_view_are_the_rows_that_are_written(data: st.DataObject) -> None:
    one = st.fixed_dictionaries(
        {"confidence": st.floats(0, 1), "label": st.sampled_from([None, 0.0, 0.5, 1.0])},
        optional={
            "dataset": st.sampled_from(["a", "b"]),
            "problem_id": st.sampled_from(["p", "q"]),
            "group": st.sampled_from(["g", ""]),
            "problem": st.sampled_from(["1+1?", "2+2?", ""]),
            "context": st.sampled_from(["seen", ""]),
            "raw_confidence": st.floats(0, 1),
            "true_confidence": st.floats(0, 1),
            "num_ratings": st.integers(0, 3),
        },
    )
    rows = data.draw(st.lists(one, min_size=1, max_size=8))
    with_texts = data.draw(st.booleans())
    rows = [row | ({"text": f"step {number}"} if with_texts else {}) for number, row in enumerate(rows)]
    rows.append({"confidence": 0.5, "label": 1.0, "text": "the last"})
    steps = steps_of_rows((row, None) for row in rows)
    view = RowsInView(steps)
    expected = list(rows_of(steps))
    assert [dict(row) for row in view] == expected
    for row, right in zip(view, expected, strict=True):
        assert all(row.get(name, "none") == right.get(name, "none") for name in (*right, "text", "group", "nonsense"))
        assert list(row) == list(right)
        with pytest.raises(KeyError):
            row["nonsense"]
    for name in {name for row in expected for name in row} | {"raw_confidence", "group", "nonsense"}:
        for default in (None, "all"):
            assert view.column(name, default) == [row.get(name, default) for row in view]


def held_while(read: Callable[[], object]) -> int:
    tracemalloc.start()
    kept = read()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del kept
    return held


def test_what_is_held_of_a_row_are_its_numbers_and_no_text_twice() -> None:
    """Twelve numbers in columns while reading; and the text of a problem once, however many steps it has."""

    def read(count: int, **more: Any) -> RowColumns:
        found = RowColumns(None)
        for number in range(count):
            # As a parser gives them: every text an object of its own.
            texts = {name: f"{text}." for name, text in more.items()}
            found.add({"confidence": 0.5, "label": 1.0, "problem_id": "p", "step": number, **texts}, None)
        return found

    few, many = (held_while(lambda count=count: read(count)) for count in (500, 5_500))
    assert (many - few) / 5_000 < 150
    few, many = (held_while(lambda count=count: read(count, text="s", problem="p" * 5_000)) for count in (500, 5_500))
    assert (many - few) / 5_000 < 400


def test_the_collector_is_as_before_after_a_bad_row(tmp_path: Path) -> None:
    before = gc.get_threshold()
    path = tmp_path / "predictions.jsonl"
    path.write_text('{"confidence": 0.5, "label": 1}\n{"confidence": 7, "label": 1}\n')
    with pytest.raises(DataError, match="line 2"):
        read_predictions(path)
    assert gc.get_threshold() == before

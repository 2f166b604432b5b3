"""A file of predictions that several processes read is what one row after another comes to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pickling_helper import Pickling
from surestep.errors import DataError
from surestep.evaluation.compare.join import _keyed_rows
from surestep.evaluation.results.same_data import OVERALL
from surestep.scored import FIRST_STEP, ScoredSteps
from surestep.scoring.predictions import shared_reading
from surestep.scoring.predictions.layouts import read_parts
from surestep.scoring.predictions.row_columns import RowColumns
from surestep.scoring.predictions.shared_reading import read_shared
from surestep.scoring.predictions.sure_rows import sure_rows
from surestep.scoring.predictions_file import read_predictions

NUMBERS = st.sampled_from([0.0, 0.25, 0.5, 1, 1.0])
ODD = st.sampled_from(
    [
        '{"confidence": -0.0, "label": 1}',
        '{"confidence": 0.5, "label": NaN, "step": 3.0}',
        '{"confidence": 0.5, "label": 0.5, "dataset": "  ", "problem_id": " p "}',
        '{"confidence": 0.5, "label": 1, "problem_id": "q", "extra": "x"}',
        '{"confidence": 0.5, "label": 1, "extra": "x", "extra": "y"}',
        '{"confidence": 0.5, "label": 1, "seed": 7, "seed": 7}',
        '{"confidence": 0.5, "label": 1, "extra": {"confidence": 0.25}, "seed": [NaN, [1]]}',
        '{"confidence": 0.5, "label": 1, "extra": "\\ud83d", "seed": Infinity, "": -0}',
        '{"confidence": 0.5, "label": 1, "extra": "\t"}',
        '{"confidence": 0.5, "label": 1, "seed": 01}',
        '{"confidence": 0.5, "label": 1, "seed": Inf}',
        '{"confidence": 0.5, "label": 1, "\\ud83d": 1}',
        '{"confidence": 0.5, "label": 1, "extra": true, "seed": "7"}',
        '{"confidence": 0.5, "label": 1, "\\u0069d": "p", "sub\\u0073et": "b"}',
        '{"confidence": 0.5, "label": 1, "confidences": null}',
        '{"confidence": 0.5, "label": 1, "confidences": [0.5], "extra": 1}',
        '{"confidence": 0.5, "label": 1, "id": 3, "problem_id": "q", "step": 2}',
        '{"confidence": 0.5, "label": 1, "problem_id": "q", "problem_id": "p"}',
        '{"confidence": 0.5, "label": true, "problem_id": "\\ud83d"}',
        '{"confidence": 0.5, "label": 1} {"confidence": 0.5, "label": 1}',
        '{"confidence": 5e-1, "label": 1e-400, "id": "p", "subset": "b"}',
        '{"confidence": 0.5, "label": 1, "position": 0}',
        '{"confidence": null, "label": 1}',
        '{"confidence": 0.5, "problem": " One?", "text": "}", "context": null}\r',
        '{"confidence": 0.5, "label": 1, "problem_id": "{", "text": "a\\nb", "problem": ""}',
    ]
)


def _optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


STEP_ROWS = st.builds(
    lambda needed, more: needed | more,
    st.fixed_dictionaries({"confidence": NUMBERS, "label": st.one_of(NUMBERS, st.none())}),
    _optional(
        dataset=st.sampled_from(["a", "b"]),
        problem_id=st.sampled_from(["p", "q", 7]),
        group=st.sampled_from(["g", "h"]),
        problem=st.sampled_from(["One?", "one?", "two"]),
        step=st.integers(0, 4),
        parent=st.integers(FIRST_STEP, 4),
        position=st.integers(1, 3),
        raw_confidence=NUMBERS,
        num_ratings=st.integers(0, 3),
        text=st.just("a step"),
        context=st.just("evidence"),
        extra=st.sampled_from(["x", "2024-01-01", "", None]),
        seed=st.sampled_from([7, 7.5, None]),
        flag=st.booleans(),
    ),
)
SOLUTIONS = st.builds(
    lambda scores, label, more: {"confidences": scores, "label": label} | more,
    st.lists(st.one_of(NUMBERS, st.none()), min_size=2, max_size=3),
    st.sampled_from([-1, 0, 1]),
    _optional(id=st.sampled_from(["p", "q"]), problem_id=st.just("p"), dataset=st.just("b"), problem=st.just("one?")),
)
BROKEN = st.sampled_from(["{", "7", '{"label": 1}', '{"confidence": 2, "label": 1}', '{"confidences": [1]}', "", "  "])
FILES = st.one_of(
    *(
        st.lists(st.one_of(rows.map(json.dumps), rows.map(json.dumps), rows.map(json.dumps), others), max_size=20)
        for rows, others in (
            (STEP_ROWS, BROKEN),
            (STEP_ROWS, STEP_ROWS.map(json.dumps)),
            (STEP_ROWS, ODD),
            (SOLUTIONS, BROKEN),
        )
    )
)


def one_after_another(path: Path) -> ScoredSteps:
    """Read row by row, in one process; step and parent by a loop that remembers the last step of each tree."""
    found, places, last = RowColumns(path), [], {}
    for part in read_parts(path):
        for row in part.rows:
            found.add(row, part.record.line, may_lack_confidence=part.is_solution)
            tree = found._whole["tree"][-1]
            before = last.get(tree, FIRST_STEP)
            step, parent = row.get("step"), row.get("parent")
            if step is None:
                step, parent = before + 1, before
            elif parent is None:
                parent = before
            last[tree] = step
            places.append((step, parent if FIRST_STEP <= parent < step else FIRST_STEP))
    steps = found.steps()
    assert list(zip(steps.step.tolist(), steps.parent.tolist(), strict=True)) == places
    return steps


def outcome(read: Any, path: Path) -> Any:
    """Everything that was read, or the error."""
    try:
        steps = read(path)
    except DataError as error:
        return type(error), str(error)
    names = [name for name in steps.__dataclass_fields__ if name not in {"texts", "tree_ids", "dataset_names"}]
    columns = [np.nan_to_num(getattr(steps, name), nan=-9.0).tolist() for name in names]
    texts = None
    if steps.texts is not None:
        texts = [
            (steps.texts.problem(row), steps.texts.step(row), steps.texts.context(row), steps.texts.group(row))
            for row in range(len(steps))
        ]
    return columns, texts, list(steps.tree_ids), steps.dataset_names


@contextmanager
def shared(helper: Any, characters: int, least_sure: int = 0) -> Iterator[None]:
    """Lines are handed over a few at a time, and read as columns from `least_sure` characters on."""

    @contextmanager
    def given_helpers(_number: int, _first: Any) -> Iterator[list[Any]]:
        yield [helper] if helper is not None else []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_reading, "helpers", given_helpers)
        patch.setattr(shared_reading, "BATCH", characters)
        patch.setattr(shared_reading, "LEAST_SURE", least_sure)
        yield


@settings(max_examples=60)
@given(FILES, st.sampled_from([1, 150, 400]), st.sampled_from([0, 2, 10**9]), st.sampled_from(["\n", ""]))
def test_columns_texts_and_errors_are_those_of_one_row_after_another(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], characters: int, lost_after: int, end: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "shared_predictions.jsonl"
    path.write_text("\n".join(lines) + end, encoding="utf-8")
    expected = outcome(one_after_another, path)
    for helper, least_sure in ((None, 0), (Pickling(lost_after), 0), (None, 10**9)):
        with shared(helper, characters, least_sure):
            assert outcome(read_predictions, path) == expected


def keyed(path: Path, dataset: str) -> Any:
    """The columns and keys that `compare` joins rows by, or why there are none, or the error."""
    found, numbers = RowColumns(path), []
    try:
        for part in read_shared(path, partial(_keyed_rows, dataset=dataset)):
            if part.why_not:
                return part.why_not
            found.extend(part.columns)
            numbers += part.numbers
    except DataError as error:
        return str(error)
    return {name: values.tolist() for name, values in found._whole.items()}, str(found._numbers), numbers


@settings(max_examples=20)
@given(FILES, st.sampled_from([1, 150]), st.sampled_from(["a", "b", "all", OVERALL]))
def test_what_compare_joins_is_what_one_row_after_another_gives(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], characters: int, dataset: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "keyed_predictions.jsonl"
    named = [
        line.replace('{"confidence"', '{"dataset": "a", "problem_id": "p", "step": 1, "confidence"') for line in lines
    ]
    for content in (lines, named):
        path.write_text("\n".join(content) + "\n", encoding="utf-8")
        with shared(None, 10**9, 10**9):
            expected = keyed(path, dataset)
        for helper in (None, Pickling()):
            with shared(helper, characters):
                assert keyed(path, dataset) == expected


def test_plain_rows_are_read_as_columns_and_doubtful_ones_are_not() -> None:
    row = {"dataset": "a", "problem_id": "p", "step": 1, "confidence": 0.5, "label": None, "text": "{", "group": " "}
    plain = json.dumps(row) + "\n"
    rows = sure_rows(plain * 3, 5)
    assert rows is not None
    assert (rows.line.tolist(), rows.texts["text"].listed(), rows.has("group").any()) == ([5, 6, 7], ["{"] * 3, False)
    assert np.isnan(rows.numbers["label"]).all()
    for doubtful in (
        {"step": -1},
        {"confidence": 1.5},
        {"confidence": None},
        {"problem_id": 7},
        {"id": "p"},
        {"subset": "b"},
        {"confidences": None},
        {"more": [1]},
        {"label": True},
    ):
        assert sure_rows(plain + json.dumps(row | doubtful) + "\n", 1) is None


@pytest.mark.parametrize(
    ("values", "is_sure"),
    [
        (['"x"', '"2024-01-01"', "null"], True),
        (["1", "2.5", "null"], True),
        (["null", "true", "false"], True),
        (["null", "null", "null"], True),
        (["1", '"1"', "1"], False),
        (["true", "1", "1"], False),
        (["{}", "{}", "{}"], False),
        (["[1]", "null", "null"], False),
        (["1", "NaN", "null"], True),
    ],
)
@pytest.mark.parametrize("num_before", [0, 20], ids=["at once", "from the 21st row on"])
def test_fields_that_nobody_reads_leave_rows_plain_where_they_are_of_one_kind(
    values: list[str], is_sure: bool, num_before: int
) -> None:
    lines = ['{"confidence": 0.5, "label": 1}\n'] * num_before
    lines += [f'{{"confidence": 0.5, "seed": {value}, "label": 1}}\n' for value in values]
    rows = sure_rows("".join(lines), 1)
    assert (rows is not None) == (is_sure and not num_before), "what no row of the first ones has is not sure"
    if rows is not None:
        assert rows.numbers["confidence"].tolist() == [0.5] * len(lines)
    twice = '{"confidence": 0.5, "seed": 1, "seed": 1, "label": 1}\n'
    assert sure_rows(twice, 1) is sure_rows(twice * 3, 1) is None


@pytest.mark.parametrize(
    ("value", "is_sure"), [("2", True), ("NaN", True), ("Inf", False), ("-Inf", False), ("Infinity", False)]
)
def test_no_number_is_read_that_only_pyarrow_knows(value: str, is_sure: bool) -> None:
    """Behind the rows that are looked at one by one; Infinity, which it cannot be told from, is left to the reader."""
    rows = [f'{{"confidence": 0.5, "seed": {seed}, "label": 1}}\n' for seed in [*range(20), value]]
    assert (sure_rows("".join(rows), 1) is not None) == is_sure


def test_a_field_whose_name_is_no_utf_8_is_no_column() -> None:
    assert sure_rows('{"confidence": 0.5, "\\ud83d\\ude00": 1}\n', 1) is not None
    assert sure_rows('{"confidence": 0.5, "\\ud83d": 1}\n', 1) is None


def test_many_fields_that_nobody_reads_are_no_columns() -> None:
    few, many = (json.dumps({"confidence": 0.5} | {f"x{n}": n for n in range(count)}) + "\n" for count in (64, 65))
    assert sure_rows(few, 1) is not None
    assert sure_rows(many, 1) is None


def test_an_array_and_a_table_are_read_as_before(tmp_path: Path) -> None:
    rows = [{"confidence": 0.5, "label": 1, "problem_id": "p"}, {"confidence": 0.25, "label": 0, "problem_id": "p"}]
    array, table = tmp_path / "array.jsonl", tmp_path / "table.csv"
    array.write_text("\n" + json.dumps(rows), encoding="utf-8")
    table.write_text("confidence,label,problem_id\n0.5,1,p\n0.25,0,p\n", encoding="utf-8")
    for path in (array, table):
        found = read_predictions(path)
        assert found.confidence.tolist() == [0.5, 0.25]
        assert (found.step.tolist(), found.parent.tolist()) == ([0, 1], [-1, 0])


@pytest.mark.slow
def test_a_process_helps_with_a_large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real one, with the same columns."""
    path = tmp_path / "many.jsonl"
    rows = [{"confidence": 0.5, "label": number % 2, "problem_id": str(number // 3)} for number in range(9_000)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    asked: list[int] = []
    helped = shared_reading.helpers_for
    monkeypatch.setattr("surestep.data.records.helper_process.LEAST_SHARED", 1)
    monkeypatch.setattr("surestep.data.records.helper_process.num_cores", lambda: 2)
    monkeypatch.setattr(shared_reading, "helpers_for", lambda files: asked.append(helped(files)) or asked[-1])
    monkeypatch.setattr(shared_reading, "BATCH", 2_000)
    found = read_predictions(path)
    assert asked == [1]
    assert outcome(lambda _: found, path) == outcome(one_after_another, path)

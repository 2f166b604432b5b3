"""PRMBench: wrong steps counted from 1, indices that point nowhere, repeats."""

from __future__ import annotations

from typing import Any

import pytest

from surestep.data.benchmarks.prmbench import CATEGORIES, read_prmbench
from surestep.data.records.reading_report import ReadReport
from surestep.data.trees.identity import problem_key
from surestep.errors import DataError


def record(**fields: Any) -> dict[str, Any]:
    return {
        "idx": "p1",
        "original_question": "What is 1 + 1?",
        "modified_question": "What is 1 + 2?",
        "original_process": ["one", "two"],
        "modified_process": ["a", "b", "c"],
        "error_steps": [2],
        "classification": "confidence",
    } | fields


def test_wrong_steps_count_from_one(write_jsonl) -> None:
    report = ReadReport()
    (found,) = read_prmbench(write_jsonl(record(error_steps=[1, 3])), report=report)
    assert [node.confidence for node in found.tree.nodes] == [0.0, 1.0, 0.0]
    assert (found.category, found.tree.problem, found.tree.id) == ("confidence", "What is 1 + 2?", "confidence_p1")
    assert not found.has_index_outside
    assert report["labels"] == 3


def test_an_index_outside_is_counted_and_the_rest_kept(write_jsonl) -> None:
    report = ReadReport()
    (found,) = read_prmbench(write_jsonl(record(error_steps=[0, 2, 4, 5])), report=report)
    assert [node.confidence for node in found.tree.nodes] == [1.0, 0.0, 1.0]
    assert found.has_index_outside
    assert (report["error_index_outside"], report["error_record_outside"]) == (3, 1)
    assert "data.jsonl, line 1: 0 of 3 steps" in report.places["error_index_outside"]


def test_changes_of_one_problem_stay_together(write_jsonl) -> None:
    rows = [record(classification=name, modified_question=f"{name}?") for name in CATEGORIES]
    found = list(read_prmbench(write_jsonl(*rows), report=ReadReport()))
    assert len(found) == 9
    assert len({problem_key(one.tree) for one in found}) == 1


def test_a_repeated_record_is_left_out(write_jsonl) -> None:
    report = ReadReport()
    rows = [record(), record(modified_process=["other"]), record(classification="circular")]
    assert len(list(read_prmbench(write_jsonl(*rows), report=report))) == 2
    assert report["repeated_record"] == 1


def test_the_older_name_of_the_question(write_jsonl) -> None:
    row = record(question="q?", error_steps=None)
    del row["original_question"], row["modified_question"]
    (found,) = read_prmbench(write_jsonl(row), report=ReadReport())
    assert found.tree.problem == "q?"
    assert [node.confidence for node in found.tree.nodes] == [1.0] * 3


def test_empty_steps_and_solutions(write_jsonl) -> None:
    report = ReadReport()
    rows = [record(modified_process=["a", " ", "c"]), record(idx="p2", modified_process=[], error_steps=[])]
    (found,) = read_prmbench(write_jsonl(*rows), report=report)
    assert len(found.tree.nodes) == 1
    assert (report["empty_step"], report["no_steps"]) == (1, 1)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"classification": "magic"}, "'magic'; allowed: redundency, circular"),
        ({"classification": None}, "'classification' is missing"),
        ({"error_steps": ["2"]}, "'error_steps' holds '2'"),
        ({"error_steps": [True]}, "'error_steps' holds True"),
        ({"error_steps": 2}, "allowed: a list"),
        ({"modified_process": [1]}, "step 1 is the number 1"),
        ({"idx": []}, "'idx' is []"),
        ({"modified_question": " ", "original_question": None}, "one of them must hold the problem"),
    ],
)
def test_bad_records_name_their_line(write_jsonl, fields: dict[str, Any], words: str) -> None:
    path = write_jsonl(record(idx="ok"), record(**fields))
    with pytest.raises(DataError) as caught:
        list(read_prmbench(path, report=ReadReport()))
    assert words in str(caught.value)
    assert "line 2" in str(caught.value)

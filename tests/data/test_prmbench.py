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


def test_every_listed_step_is_kept(write_jsonl) -> None:
    """An empty one too, with the labels of those behind it; and a solution that lists none."""
    report = ReadReport()
    rows = [
        record(modified_process=["a", " ", "c"], error_steps=[2, 3]),
        record(idx="p2", modified_process=[], error_steps=[]),
        record(idx="p3", modified_process=None, error_steps=[]),
    ]
    found, without = read_prmbench(write_jsonl(*rows), report=report)
    assert [(node.text, node.confidence) for node in found.tree.nodes] == [("a", 1.0), ("", 0.0), ("c", 0.0)]
    assert without.tree.nodes == ()
    assert (report["empty_step_kept"], report["solution_without_steps"], report["no_steps"]) == (1, 1, 1)
    assert report.places["empty_step_kept"] == ["data.jsonl, line 1"]


@pytest.mark.parametrize(
    ("wrong", "first"), [([3, 2], 1), ([], None), ([4], None), ([0, 2], None), ([2, 9], 1), ([-1], None)]
)
def test_the_first_wrong_step_is_the_smallest_number_if_it_exists(write_jsonl, wrong: list[int], first: Any) -> None:
    (found,) = read_prmbench(write_jsonl(record(error_steps=wrong)), report=ReadReport())
    assert found.first_error == first


def test_solutions_before_the_change_come_once_each(write_jsonl) -> None:
    report = ReadReport()
    rows = [record(classification=name) for name in CATEGORIES]
    rows += [record(classification="redundency", idx="p2", original_process=None)]
    found = list(read_prmbench(write_jsonl(*rows), report=report, originals=True))
    assert [one.tree.id for one in found[:3]] == ["correct_p1", "redundency_p1", "circular_p1"]
    (before,) = (one for one in found if one.category == "correct")
    assert (before.tree.problem, [n.confidence for n in before.tree.nodes]) == ("What is 1 + 1?", [1.0, 1.0])
    assert problem_key(before.tree) == problem_key(found[1].tree)
    assert report["no_original"] == 1


def test_numbers_in_front_of_steps_go_on_request(write_jsonl) -> None:
    """As `remove_step_prefix` of the benchmark's adapters, the "3." of a decimal number included."""
    steps = ["Step 1. a", " 2.b", "step  3.  c", "3.5 is d", "Step four. e", "5.", "(6.) f"]
    report = ReadReport()
    path = write_jsonl(record(modified_process=steps))
    (kept,) = read_prmbench(path, report=ReadReport())
    assert [node.text for node in kept.tree.nodes] == [step.strip() for step in steps]
    (found,) = read_prmbench(path, report=report, step_numbers="remove")
    assert [node.text for node in found.tree.nodes] == ["a", "b", "c", "5 is d", "Step four. e", "", "(6.) f"]
    assert (report["step_number_removed"], report["empty_step_kept"]) == (5, 1)


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

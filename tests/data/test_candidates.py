"""Candidates: three layouts, answers, and every way they can be incomplete."""

from __future__ import annotations

from typing import Any

import pytest

from surestep.data.benchmarks.answers import equivalent
from surestep.data.benchmarks.candidates import GSM8K_SYSTEMS, Candidate, read_candidates
from surestep.data.benchmarks.final_answer import written_answer
from surestep.data.records.reading_report import ReadReport
from surestep.errors import DataError
from surestep.untrusted import read_json_lines


def nested(*candidates: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"problem": "1+1?", "candidates": list(candidates)} | fields


def test_nested_candidates(write_jsonl) -> None:
    report = ReadReport()
    row = nested(
        {"steps": ["one and one", "it is 2"], "correct": True},
        {"solution": "a guess\n\n#### 3\n", "correct": False, "source": "small", "confidences": [0.5, 0.25]},
        {"steps": ["it is two"], "correct": True, "answer": " 2.0 "},
        id="p",
    )
    (found,) = read_candidates(write_jsonl(row), report=report)
    assert (found.problem, found.id) == ("1+1?", "p")
    assert found.candidates == [
        Candidate(("one and one", "it is 2"), True, "2"),
        Candidate(("a guess", "#### 3"), False, "3", (0.5, 0.25), "small"),
        Candidate(("it is two",), True, "2"),
    ]
    assert report["candidates"] == 3


def test_one_candidate_a_line(write_jsonl) -> None:
    rows = [{"problem": p, "steps": [f"{n}"], "correct": n == 2} for n in (2, 3) for p in ("a?", "b?")]
    found = read_candidates(write_jsonl(*rows), report=ReadReport())
    assert [(one.problem, [c.answer for c in one.candidates]) for one in found] == [
        ("a?", ["2", "3"]),
        ("b?", ["2", "3"]),
    ]


def test_same_problem_with_other_ids_stays_apart(write_jsonl) -> None:
    rows = [{"problem": "a?", "id": n, "steps": ["1"], "correct": True} for n in ("x", "y")]
    assert [one.id for one in read_candidates(write_jsonl(*rows), report=ReadReport())] == ["x", "y"]


def test_gsm8k_names_its_systems(write_jsonl) -> None:
    report = ReadReport()
    row: dict[str, Any] = {"question": "q?", "ground_truth": "A: 18"}
    row |= {name: {"is_correct": name.startswith("175b"), "solution": "so\nA: 18"} for name in GSM8K_SYSTEMS}
    (found,) = read_candidates(write_jsonl(row), report=report)
    assert [c.source for c in found.candidates] == list(GSM8K_SYSTEMS)
    assert [c.is_correct for c in found.candidates] == [False, False, True, True]
    assert {c.answer for c in found.candidates} == {"18"}
    assert "four systems of different strength" in report.notes[0]
    assert report["answer_conflict"] == 1


@pytest.mark.slow
def test_real_solutions(real_data) -> None:
    """Counted beforehand in the file itself; its judgements never contradict the extracted answers."""
    report = ReadReport()
    found = read_candidates(real_data("GSM8K/example_model_solutions.jsonl"), report=report)
    assert len(found) == 1319
    assert {len(one.candidates) for one in found} == {4}
    assert report["answer_conflict"] == 0
    assert report["candidate_without_answer"] == 0


@pytest.mark.slow
def test_real_solutions_are_right_where_their_answer_is_the_right_one(real_data) -> None:
    """5,276 solutions: each is judged right exactly where its answer says what the given solution's does."""
    path = real_data("GSM8K/example_model_solutions.jsonl")
    gold = [written_answer(str(row["ground_truth"])) for row in read_json_lines(path)]
    found = read_candidates(path, report=ReadReport())
    judged = [
        (c.is_correct, equivalent(str(c.vote), str(g)))
        for g, one in zip(gold, found, strict=True)
        for c in one.candidates
    ]
    assert len(judged) == 5276
    assert [pair for pair in judged if pair[0] is not pair[1]] == []


def test_what_is_missing_is_counted(write_jsonl) -> None:
    report = ReadReport()
    row = nested({"steps": [], "correct": False}, {"steps": ["no idea"], "correct": False, "colour": 1}, colour=1)
    (found,) = read_candidates(write_jsonl(row), report=report)
    assert len(found.candidates) == 2
    assert report["candidate_without_steps"] == 1
    assert report["candidate_without_answer"] == 2
    assert report["fields_not_read"] == 2


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (nested(), "'candidates' is empty"),
        (nested({"steps": ["a"]}), "candidate 1 has 'correct' None; allowed: true or false"),
        (nested({"steps": ["a"], "correct": 1}), "'correct' 1"),
        (nested({"correct": True}), "neither 'steps' nor 'solution'"),
        (nested({"steps": ["a", ""], "correct": True}), "step 2 of candidate 1 is empty"),
        (nested({"steps": ["a"], "correct": True, "confidences": [0.5, 0.5]}), "2 confidences for 1 step"),
        (nested({"steps": ["a"], "correct": True, "confidences": [1.5]}), "confidence 1 of candidate 1 is 1.5"),
        (nested({"steps": ["a"], "correct": True, "confidences": [float("nan")]}), "is nan"),
        (nested({"steps": ["a"], "correct": True, "answer": [1]}), "'answer' [1]"),
        (nested("text"), "candidate 1 is text"),
        ({"steps": ["a"], "correct": True}, "'problem' is missing"),
        ({"problem": " ", "steps": ["a"], "correct": True}, "the problem is empty"),
        (nested({"steps": ["a"], "correct": True}, id=[1]), "'id' is [1]"),
    ],
)
def test_bad_records_name_their_line(write_jsonl, row: dict[str, Any], words: str) -> None:
    path = write_jsonl(nested({"steps": ["a"], "correct": True}, id="ok"), row)
    with pytest.raises(DataError) as caught:
        read_candidates(path, report=ReadReport())
    assert words in str(caught.value)
    assert "line 2" in str(caught.value)

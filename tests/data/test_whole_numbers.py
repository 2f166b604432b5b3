"""Whole numbers written as floats, as pandas writes a column with a null, are whole numbers in every reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from layout_rows import READERS
from surestep.data.records.reading_report import ReadReport
from surestep.errors import DataError

NAN = float("nan")


def prm(number: Any, choice: Any, end: Any) -> dict[str, Any]:
    steps = [
        {"completions": [{"text": "a", "rating": number(1)}, {"text": "b", "rating": number(-1)}],
         "human_completion": end, "chosen_completion": choice},
        {"completions": [{"text": "c", "rating": number(0)}, {"text": "d", "rating": end}],
         "human_completion": end, "chosen_completion": end},
    ]  # fmt: skip
    marks = {"is_quality_control_question": end, "is_initial_screening_question": number(0)}
    return marks | {"question": {"problem": "p"}, "label": {"steps": steps}}


def reveal(number: Any, missing: Any) -> dict[str, Any]:
    row = {"question_id": number(17), "question": "q", "answer_id": number(3), "step_idx": number(1), "step": "s"}
    return row | {"evidence": missing, "attribution_label": "Fully", "correctness_label": missing}


def eqasc(number: Any, missing: Any) -> dict[str, Any]:
    facts = [{"text": "a", "score": 1.0}, {"text": "b", "score": 2.0}, {"turk_label": {"label": "yes"}}]
    choices = [{"text": "c", "label": number(1), "df": missing, "chains": [facts]}]
    return {"id": number(5), "question": {"stem": "s", "choices": choices}, "answerKey": number(1), "fact1": missing}


CASES: dict[str, tuple[str, Any]] = {
    "prm800k": ("prm800k", lambda number, missing: prm(number, number(0), missing)),
    "processbench": (
        "processbench",
        lambda number, _: {"id": number(12), "problem": "p", "steps": ["a", "b", "c", "d"], "label": number(3)},
    ),
    "processbench, no error": (
        "processbench",
        lambda number, missing: {"id": missing, "problem": "p", "steps": ["a"], "label": number(-1)},
    ),
    "own": (
        "own",
        lambda number, missing: {"id": number(7), "group": number(9), "problem": "p", "confidences": missing,
                                 "steps": [{"text": "a", "confidence": number(1), "alternatives": missing,
                                            "context": missing}]},
    ),
    "own, no name": (
        "own",
        lambda number, missing: {"id": missing, "group": missing, "problem": "p", "steps": ["a"],
                                 "confidences": [number(0)]},
    ),
    "stepwise": (
        "stepwise",
        lambda number, _: {"prompt": "p", "completions": ["a", "b"], "labels": [number(1), number(0)]},
    ),
    "reveal": ("reveal", reveal),
    "eqasc": ("eqasc", eqasc),
    "math_shepherd": (
        "math_shepherd",
        lambda number, missing: {"input": "p Step 1: a ки", "label": missing, "value": [number(1)]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_floats_and_nan_give_the_trees_of_integers_and_null(name: str, tmp_path: Path) -> None:
    kind, make = CASES[name]
    path = tmp_path / "data.jsonl"
    found = []
    for number, missing in ((int, None), (float, NAN)):
        path.write_text(json.dumps(make(number, missing)) + "\n", encoding="utf-8")
        report = ReadReport()
        found.append((list(READERS[kind](path, report=report)), report))
    assert found[0][0]
    assert found[0] == found[1]


FRACTIONS = {
    "prm800k": (prm(int, 0.5, None), "'chosen_completion' of step 1 is 0.5"),
    "prm800k, rating": (prm(lambda value: value / 2, 0, None), "'rating' is 0.5"),
    "processbench": ({"problem": "p", "steps": ["a", "b"], "label": 0.5}, "'label' is 0.5"),
    "processbench, id": ({"id": 1.5, "problem": "p", "steps": ["a"], "label": 0}, "'id' is 1.5"),
    "own": ({"id": 7.5, "problem": "p", "steps": ["a"]}, "'id' is 7.5"),
    "own, group": ({"group": 0.25, "problem": "p", "steps": ["a"]}, "'group' is 0.25"),
    "reveal": (reveal(int, None) | {"step_idx": 1.5}, "'step_idx' is 1.5"),
    "reveal, text": (reveal(int, None) | {"step_idx": "1.5"}, "'step_idx' is '1.5'"),
    "reveal, id": (reveal(int, None) | {"answer_id": 0.5}, "'answer_id' is 0.5"),
    "eqasc": (eqasc(int, None) | {"id": 2.5}, "'id' is 2.5"),
}


@pytest.mark.parametrize("name", FRACTIONS)
def test_a_fraction_is_an_error_that_names_it(name: str, tmp_path: Path) -> None:
    row, words = FRACTIONS[name]
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        list(READERS[name.split(",")[0]](path, report=ReadReport()))
    assert words in str(caught.value)


@pytest.mark.parametrize("label", [None, NAN])
def test_processbench_without_a_label_is_an_error(label: Any, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"problem": "p", "steps": ["a"], "label": label}) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="'label' is None; allowed: -1"):
        list(READERS["processbench"](path, report=ReadReport()))

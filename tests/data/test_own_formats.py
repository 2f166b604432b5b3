"""The user's own layouts: soft labels are kept as written, and every mistake names file and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from surestep.data.datasets.math_shepherd import read_math_shepherd
from surestep.data.datasets.own import read_own
from surestep.data.datasets.stepwise import read_stepwise
from surestep.data.records.reading_report import ReadReport
from surestep.errors import DataError
from surestep.types import ReasoningTree

Write = Callable[..., Path]
READERS = {"own": read_own, "stepwise": read_stepwise, "math_shepherd": read_math_shepherd}


def read(kind: str, path: Path) -> tuple[list[ReasoningTree], ReadReport]:
    report = ReadReport()
    return list(READERS[kind](path, report=report)), report


def rows(tree: ReasoningTree) -> list[tuple[str, float | None, int]]:
    return [(node.text, node.confidence, node.parent) for node in tree.nodes]


def failure(kind: str, path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(kind, path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- own


def test_own_record_with_everything(write_jsonl: Write) -> None:
    path = write_jsonl(
        {
            "problem": "p",
            "id": 7,
            "source": "me",
            "group": "g",
            "steps": [
                "plain",
                {
                    "text": "b",
                    "confidence": 0.9,
                    "context": "proof",
                    "alternatives": ["c", {"text": "d", "confidence": 0}],
                },
                {"text": "e", "confidence": True},
            ],
        }
    )
    (tree,), report = read("own", path)
    assert rows(tree) == [("plain", None, -1), ("b", 0.9, 0), ("c", None, 0), ("d", 0.0, 0), ("e", 1.0, 1)]
    assert tree.nodes[1].context == "proof"
    assert (tree.id, tree.group) == ("7", "g")
    assert report["missing_label"] == 2


def test_own_confidences_as_one_list(write_jsonl: Write) -> None:
    (tree,), _ = read("own", write_jsonl({"problem": "p", "steps": ["a", "b"], "confidences": [0.25, None]}))
    assert rows(tree) == [("a", 0.25, -1), ("b", None, 0)]


def test_own_records_of_one_problem_share_steps_unless_their_ids_differ(write_jsonl: Write) -> None:
    path = write_jsonl(
        {"problem": "p", "steps": ["a", "b"], "confidences": [1, 0]},
        {"problem": "p", "steps": ["a", "c"], "confidences": [0.5, 1]},
        {"problem": "p", "id": "other", "steps": ["a"], "confidences": [1]},
    )
    (merged, other), report = read("own", path)
    assert rows(merged) == [("a", 0.75, -1), ("c", 1.0, 0), ("b", 0.0, 0)]  # in the order of what the records hold
    assert (merged.id, other.id) == ("data:1", "other")
    assert report["rating_conflict"] == 1


def test_own_unknown_fields_of_a_record_are_reported(write_jsonl: Write) -> None:
    _, report = read("own", write_jsonl({"problem": "p", "steps": ["a"], "confidences": [1], "note": "x"}))
    assert report.places["fields_not_read"] == ["data.jsonl, line 1: note"]


@pytest.mark.parametrize("value", [1.5, -0.1, "likely", "1.5", float("nan"), [1], -100])
def test_a_label_out_of_range_names_line_value_and_range(write_jsonl: Write, value: Any) -> None:
    good = {"problem": "p", "steps": [{"text": "a", "confidence": 1}]}
    bad = {"problem": "p", "steps": [{"text": "a", "confidence": value}]}
    message = failure("own", write_jsonl(good, bad))
    assert f"data.jsonl, line 2: the confidence of step 1 is {value!r}; allowed: a number from 0 to 1" in message
    row = {"prompt": "p", "completions": ["a"], "labels": [value]}
    assert f"line 1: the label of step 1 is {value!r}" in failure("stepwise", write_jsonl(row))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"problem": "p", "steps": []}, "'steps' is empty"),
        ({"problem": "p"}, "'steps' is empty"),
        ({"problem": " ", "steps": ["a"]}, "the problem is empty"),
        ({"steps": ["a"]}, "'problem' is missing"),
        ({"problem": "p", "steps": ["a", "\n"]}, "step 2 is empty"),
        (
            {"problem": "p", "steps": [{"text": "a", "alternatives": [" "]}]},
            "alternative 1 of step 1 is empty",
        ),
        ({"problem": "p", "steps": [{"text": "a", "confidance": 1}]}, "has the field 'confidance'"),
        ({"problem": "p", "steps": [3]}, "step 1 is the number 3"),
        ({"problem": "p", "steps": ["a"], "confidences": [1, 0]}, "2 confidences for 1 step"),
        ({"problem": "p", "steps": [{"text": "a", "confidence": 1}], "confidences": [1]}, "keep one"),
        ({"problem": "p", "steps": "a"}, "'steps' is text; allowed: a list"),
        ({"problem": "p", "steps": ["a"], "id": [1]}, "'id' is"),
        (
            {
                "problem": "p",
                "steps": [{"text": "a", "alternatives": [{"text": "b", "alternatives": ["c"]}]}],
            },
            "has alternatives itself",
        ),
    ],
)
def test_mistakes_in_own_records(write_jsonl: Write, record: dict[str, Any], message: str) -> None:
    found = failure("own", write_jsonl(record))
    assert "data.jsonl, line 1: " in found
    assert message in found


# --- stepwise


def test_stepwise_labels_of_every_kind_are_kept_as_they_are(write_jsonl: Write) -> None:
    path = write_jsonl({"prompt": "p", "completions": ["a", "b", "c", "d"], "labels": [True, 0.9, None, False]})
    (tree,), report = read("stepwise", path)
    assert [node.confidence for node in tree.nodes] == [1.0, 0.9, None, 0.0]
    assert report["missing_label"] == 1


def test_stepwise_rows_of_one_prompt_share_their_prefix(write_jsonl: Write) -> None:
    path = write_jsonl(
        {"prompt": "p", "completions": ["a", "b"], "labels": [True, True]},
        {"prompt": "p", "completions": ["a", "c"], "labels": [True, False]},
    )
    (tree,), _ = read("stepwise", path)
    assert rows(tree) == [("a", 1.0, -1), ("b", 1.0, 0), ("c", 0.0, 0)]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"prompt": "p", "completions": ["a", "b"], "labels": [True]}, "1 label for 2 completions"),
        ({"prompt": "p", "completions": [], "labels": []}, "'completions' is empty"),
        ({"prompt": "p", "completions": [" "], "labels": [True]}, "step 1 is empty"),
        (
            {"prompt": [{"role": "user"}], "completions": ["a"], "labels": [True]},
            "'prompt' is a list; allowed: text",
        ),
        ({"prompt": "p", "completions": [["a"]], "labels": [True]}, "step 1 is a list; allowed: text"),
    ],
)
def test_mistakes_in_stepwise_rows(write_jsonl: Write, record: dict[str, Any], message: str) -> None:
    assert message in failure("stepwise", write_jsonl(record))


# --- Math-Shepherd


def shepherd(text: str, verdicts: str) -> dict[str, str]:
    label = text
    for verdict in verdicts:
        label = label.replace("ки", verdict, 1)
    return {"input": text, "label": label, "task": "GSM8K"}


def test_math_shepherd_steps_and_verdicts(write_jsonl: Write) -> None:
    text = "How many - 2+2? Step 1: 2+2 = 4 ки\nStep 2: So 5 - 0. ки"
    (tree,), _ = read("math_shepherd", write_jsonl(shepherd(text, "+-")))
    assert tree.problem == "How many - 2+2?"
    assert rows(tree) == [("Step 1: 2+2 = 4", 1.0, -1), ("Step 2: So 5 - 0.", 0.0, 0)]


def test_math_shepherd_problem_may_itself_speak_of_steps(write_jsonl: Write) -> None:
    (tree,), _ = read("math_shepherd", write_jsonl(shepherd("Do Step 1: first. How long? Step 1: a ки", "+")))
    assert (tree.problem, tree.nodes[0].text) == ("Do Step 1: first. How long?", "Step 1: a")


def test_math_shepherd_text_after_the_last_tag_has_no_label(write_jsonl: Write) -> None:
    (tree,), report = read("math_shepherd", write_jsonl(shepherd("Q Step 1: a ки\nStep 2: b", "+")))
    assert rows(tree) == [("Step 1: a", 1.0, -1), ("Step 2: b", None, 0)]
    assert report["missing_label"] == 1


TAG_IN_PROBLEM = "A box holds 4. ки How many do 3 hold? Step 1: 3 * 4 = 12. ки\nStep 2: So 12 ки"


@pytest.mark.parametrize("layout", ["label", "value", "value of the steps only"])
def test_math_shepherd_a_tag_within_the_problem_is_removed_with_its_verdict(write_jsonl: Write, layout: str) -> None:
    record: dict[str, Any] = shepherd(TAG_IN_PROBLEM, "-+-")
    if layout != "label":
        record = {"input": TAG_IN_PROBLEM, "value": ["-", "+", "-"] if layout == "value" else ["+", "-"]}
    (tree,), report = read("math_shepherd", write_jsonl(record))
    assert tree.problem == "A box holds 4. How many do 3 hold?"
    assert rows(tree) == [("Step 1: 3 * 4 = 12.", 1.0, -1), ("Step 2: So 12", 0.0, 0)]
    assert report["tag_in_problem"] == 1
    assert report.places["tag_in_problem"] == ["data.jsonl, line 1"]


@pytest.mark.parametrize("marker", ["step 1:", "STEP 1:", "Step 1 :", "Step1:", "Step  1:"])
def test_math_shepherd_other_spellings_of_the_first_step(write_jsonl: Write, marker: str) -> None:
    (tree,), report = read("math_shepherd", write_jsonl(shepherd(f"Find 6 + 7. {marker} 6 + 7 = 13. ки", "+")))
    assert tree.problem == "Find 6 + 7."
    assert tree.nodes[0].text == f"{marker} 6 + 7 = 13."
    assert (report["step_one_spelling"], report["step_one_missing"]) == (1, 0)


def test_math_shepherd_a_first_step_may_speak_of_step_1(write_jsonl: Write) -> None:
    text = "Why? Step 1: As in step 1: of the book, a ки\nStep 2: b ки"
    (tree,), report = read("math_shepherd", write_jsonl(shepherd(text, "+-")))
    assert tree.problem == "Why?"
    assert rows(tree) == [("Step 1: As in step 1: of the book, a", 1.0, -1), ("Step 2: b", 0.0, 0)]
    assert report["step_one_spelling"] == 0


@pytest.mark.parametrize("end", ["?", '?"', "?$"])
def test_math_shepherd_without_step_1_the_question_mark_ends_the_problem(write_jsonl: Write, end: str) -> None:
    text = f"Tom has 2. How many weeks{end} 2 * 7 = 14. ки\nStep 2: as in step 1: 14 ки"
    (tree,), report = read("math_shepherd", write_jsonl(shepherd(text, "+-")))
    assert tree.problem == f"Tom has 2. How many weeks{end}"
    assert rows(tree) == [("2 * 7 = 14.", 1.0, -1), ("Step 2: as in step 1: 14", 0.0, 0)]
    assert report["step_one_missing"] == 1


def test_math_shepherd_usual_rows_count_as_no_quirk(write_jsonl: Write) -> None:
    _, report = read("math_shepherd", write_jsonl(shepherd("Why? Step 1: a ки\nStep 2: b ки\n", "++")))
    assert set(report.counts) == {"records", "trees", "steps", "labels"}


def test_math_shepherd_verdicts_as_a_list(write_jsonl: Write) -> None:
    text = "Q Step 1: a ки\nStep 2: b ки\nStep 3: c ки\nStep 4: d ки"
    (tree,), report = read("math_shepherd", write_jsonl({"input": text, "value": ["+", "-", 0.25, None]}))
    assert [node.confidence for node in tree.nodes] == [1.0, 0.0, 0.25, None]
    assert report["missing_label"] == 1


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"input": "Q Step 1: a", "label": "Q Step 1: a"}, "no step tag"),
        ({"input": "Q Step 1: a ки"}, "'label' and 'value' are missing"),
        ({"input": "Q Step 1: a ки", "value": ["+", "-"]}, "2 verdicts for 1 step tag"),
        ({"input": "Q Step 1: a ки", "value": ["good"]}, "verdict 1 is 'good'"),
        ({"input": "Q Step 1: a ки", "value": [2]}, "verdict 1 is 2"),
        (shepherd("Q first: a ки", "+"), "no 'Step 1:'"),
        (shepherd("Step 1: a ки", "+"), "the problem is empty"),
        (shepherd("Q Step 1: a ки ки", "++"), "step 2 is empty"),
        (shepherd("Q Step 1: a ки", "?"), "'?' in place of tag 1"),
        ({"input": "Q Step 1: a ки", "label": "Q Step 1: b +"}, "differs from 'input' before tag 1"),
        ({"input": "Q Step 1: a ки", "label": "Q Step 1: a "}, "'' in place of tag 1"),
    ],
)
def test_mistakes_in_math_shepherd_rows(write_jsonl: Write, record: dict[str, str], message: str) -> None:
    found = failure("math_shepherd", write_jsonl(record))
    assert "line 1: " in found
    assert message in found

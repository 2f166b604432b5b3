"""REVEAL: by answer, evidence shown, a step's rows made one; on files of our own making, as no copy is at hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from surestep.data.datasets.reveal import TERMS, read_reveal, step_confidence
from surestep.data.records.reading_report import ReadReport
from surestep.errors import DataError
from surestep.types import ReasoningTree

COLUMNS = [
    "dataset",
    "question_id",
    "question",
    "answer_id",
    "answer_model",
    "step_idx",
    "full_answer",
    "step",
    "decontextualized_step",
    "evidence",
    "attribution_label",
    "correctness_label",
    "logic_relevance_label",
    "type_label",
    "answer_is_logically_correct",
]


def row(answer: str, index: int, step: str, evidence: str = "", **fields: str) -> dict[str, str]:
    values = {"question_id": "q1", "question": "Who?", "answer_id": answer, "step_idx": str(index)}
    return dict.fromkeys(COLUMNS, "") | values | {"step": step, "evidence": evidence} | fields


def attributed(label: str) -> dict[str, str]:
    return {"attribution_label": label, "type_label": "Attribution step."}


def put(path: Path, rows: list[dict[str, str]]) -> Path:
    """Writes the rows in the layout that the name asks for; empty cells are null in JSON."""
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        return path
    nulled = [{name: value or None for name, value in values.items()} for values in rows]
    lines = [json.dumps(values) for values in nulled]
    path.write_text(json.dumps(nulled) if path.suffix == ".json" else "\n".join(lines), encoding="utf-8")
    return path


def read(path: Path) -> tuple[list[ReasoningTree], ReadReport]:
    report = ReadReport()
    return list(read_reveal(path, report=report)), report


ROWS = [
    row("a1", 1, "So she won.", correctness_label="Incorrect", type_label="Logical step."),
    row("a1", 0, "She ran.", "page one", **attributed("Partially")),
    row("a2", 0, "He ran.", "page two", **attributed("Contradictory")),
    row("a1", 0, "She ran.", "page three", **attributed("Fully")),
    row("a1", 0, "She ran.", "page one", **attributed("Partially")),
    row("a3", 0, "Nobody knows."),
    row("b1", 0, "Yes.", question_id="q2", question="Is it?", **attributed("Unsupported")),
]


@pytest.mark.parametrize("name", ["reveal_eval.csv", "reveal_eval.json", "reveal_eval.jsonl"])
def test_answers_are_branches_of_their_question_in_every_layout(tmp_path: Path, name: str) -> None:
    (first, second), report = read(put(tmp_path / name, ROWS))
    assert (first.problem, first.id, first.group) == ("Who?", "q1", "q1")
    assert [(node.text, node.confidence, node.parent, node.context) for node in first.nodes] == [
        ("She ran.", 1.0, -1, "page one\n\npage three"),
        ("So she won.", 0.0, 0, None),
        ("He ran.", 0.0, -1, "page two"),
        ("Nobody knows.", None, -1, None),
    ]
    assert [node.confidence for node in second.nodes] == [0.25]
    assert (report["evidence_rows_merged"], report["evidence_conflict"], report["missing_label"]) == (2, 1, 1)
    assert TERMS in report.notes


@pytest.mark.parametrize(
    ("attribution", "correctness", "expected"),
    [
        ({"fully", "contradictory"}, set(), 1.0),
        ({"contradictory", "partially"}, set(), 0.0),
        ({"unsupported", "partially"}, set(), 0.5),
        ({"unsupported"}, set(), 0.25),
        (set(), {"correct"}, 1.0),
        ({"fully"}, {"incorrect"}, 0.0),
        ({"partially"}, {"correct"}, 0.5),
        (set(), set(), None),
    ],
)
def test_label_rules(attribution: set[str], correctness: set[str], expected: float | None) -> None:
    assert step_confidence(attribution, correctness) == expected


@pytest.mark.parametrize("written", ["Fully", "fully", "Fully attributable", "FULLY."])
def test_spellings_of_a_label_are_one_label(tmp_path: Path, written: str) -> None:
    (tree,), _ = read(put(tmp_path / "r.csv", [row("a", 0, "s", "e", **attributed(written))]))
    assert tree.nodes[0].confidence == 1.0


@pytest.mark.parametrize("written", ["nan", "None", "null", ""])
def test_missing_labels_stay_missing(tmp_path: Path, written: str) -> None:
    rows = [row("a", 0, "s", "e", **attributed(written)), row("a", 1, "t", correctness_label="Correct")]
    (tree,), _ = read(put(tmp_path / "r.csv", rows))
    assert [node.confidence for node in tree.nodes] == [None, 1.0]


def test_an_unknown_label_names_line_value_and_what_is_allowed(tmp_path: Path) -> None:
    rows = [row("a", 0, "s", **attributed("Fully")), row("a", 1, "t", **attributed("Mostly"))]
    with pytest.raises(DataError, match=r"r\.csv, line 3: 'attribution_label' is 'Mostly'; allowed: fully, partially"):
        read(put(tmp_path / "r.csv", rows))


def test_a_table_without_the_columns_says_which(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("question,step\na,b\n", encoding="utf-8")
    with pytest.raises(DataError, match="no column question_id, answer_id, step_idx"):
        read(path)


def test_incomplete_and_contradicting_rows_are_counted(tmp_path: Path) -> None:
    good = row("a", 0, "s", **attributed("Fully"))
    rows = [
        good,
        row("a", 0, "other text"),
        row("", 0, "s"),
        good | {"question": ""},
        row("a", 1, " "),
        row("a", 2, "t"),
    ]
    (tree,), report = read(put(tmp_path / "r.csv", rows))
    assert [node.text for node in tree.nodes] == ["s"]
    assert (report["step_text_differs"], report["incomplete_row"], report["empty_step"]) == (1, 2, 1)


def test_step_indices_order_numerically_and_need_not_be_whole_in_writing(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [row("a", 0, f"s{index}", **attributed("Fully")) for index in range(11)]
    for index, values in enumerate(rows):
        values["step_idx"] = f"{index}.0"
    (tree,), _ = read(put(tmp_path / "r.csv", rows[::-1]))
    assert [node.text for node in tree.nodes] == [f"s{index}" for index in range(11)]

"""ProcessBench: right before the error, wrong at it, unknown after it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from surestep.data.datasets.processbench import read_processbench, read_solutions
from surestep.data.records.reading_report import ReadReport
from surestep.errors import DataError


def solution(label: Any, steps: list[str] | None = None, **fields: Any) -> dict[str, Any]:
    return {
        "id": "gsm8k-0",
        "generator": "g",
        "problem": "p",
        "steps": ["a", "b", "c"] if steps is None else steps,
        "final_answer_correct": True,
        "label": label,
    } | fields


def read(tmp_path: Path, *records: dict[str, Any]):
    path = tmp_path / "gsm8k.json"
    path.write_text(json.dumps(list(records)), encoding="utf-8")
    report = ReadReport()
    return list(read_processbench(path, report=report)), report


@pytest.mark.parametrize(
    ("label", "expected"),
    [(-1, [1.0, 1.0, 1.0]), (0, [0.0, None, None]), (1, [1.0, 0.0, None]), (2, [1.0, 1.0, 0.0])],
)
def test_labels(tmp_path: Path, label: int, expected: list[float | None]) -> None:
    (tree,), report = read(tmp_path, solution(label))
    assert [node.confidence for node in tree.nodes] == expected
    assert tree.id == "gsm8k-0"
    assert report["after_error"] == expected.count(None)


@pytest.mark.parametrize("label", [3, 100, -2])
def test_an_index_outside_the_steps_is_dropped_and_reported(tmp_path: Path, label: int) -> None:
    trees, report = read(tmp_path, solution(label), solution(-1))
    assert len(trees) == 1
    assert report["label_past_end"] == 1
    assert report.places["label_past_end"] == ["gsm8k.json, record 1"]


@pytest.mark.parametrize("label", [None, "1", 1.5, True])
def test_a_label_that_is_no_index_is_an_error(tmp_path: Path, label: Any) -> None:
    with pytest.raises(DataError, match=r"record 1: 'label' is .*allowed: -1"):
        read(tmp_path, solution(label))


def test_an_empty_step_drops_what_follows(tmp_path: Path) -> None:
    (tree,), report = read(tmp_path, solution(-1, ["a", " ", "c"]), solution(-1, ["", "b"]))
    assert [node.text for node in tree.nodes] == ["a"]
    assert (report["empty_step"], report["no_steps"]) == (2, 1)


def test_two_solutions_of_one_problem_stay_two_trees(tmp_path: Path) -> None:
    trees, _ = read(tmp_path, solution(-1), solution(0, id="gsm8k-1"))
    assert [tree.id for tree in trees] == ["gsm8k-0", "gsm8k-1"]


def test_the_real_gsm8k_subset(real_data: Callable[[str], Path]) -> None:
    path = real_data("ProcessBench/gsm8k.json")
    report = ReadReport()
    trees = list(read_processbench(path, report=report))
    records = json.loads(path.read_text(encoding="utf-8"))
    assert len(trees) == len(records) == 400
    for tree, values in zip(trees, records, strict=True):
        wrong = [index for index, node in enumerate(tree.nodes) if node.confidence == 0.0]
        assert wrong == ([] if values["label"] == -1 else [values["label"]])
        assert [node.text for node in tree.nodes] == [text.strip() for text in values["steps"]]


def test_solutions_carry_their_subset_and_label(tmp_path: Path) -> None:
    path = tmp_path / "math.json"
    path.write_text(json.dumps([solution(-1), solution(1)]), encoding="utf-8")
    found = list(read_solutions(path, report=ReadReport()))
    assert [(one.subset, one.label, len(one.tree.nodes)) for one in found] == [("math", -1, 3), ("math", 1, 3)]


@pytest.mark.parametrize("label", [-1, 0, 1, 2])
def test_the_benchmark_keeps_every_listed_step(tmp_path: Path, label: int) -> None:
    """Also an empty one, which may itself be the wrong one, and what stands behind it."""
    path = tmp_path / "math.json"
    path.write_text(json.dumps([solution(label, ["a", " ", "c\n"])]), encoding="utf-8")
    report = ReadReport()
    (found,) = read_solutions(path, report=report)
    assert ([node.text for node in found.tree.nodes], found.label) == (["a", "", "c"], label)
    assert [node.parent for node in found.tree.nodes] == [-1, 0, 1]
    assert (report["empty_step_kept"], report["empty_step"]) == (1, 0)


def test_a_solution_without_steps_counts_where_it_claims_no_error(tmp_path: Path) -> None:
    path = tmp_path / "math.json"
    rows = [solution(-1, []), solution(0, []), {**solution(-1), "steps": None}]
    path.write_text(json.dumps(rows), encoding="utf-8")
    report = ReadReport()
    (found,) = read_solutions(path, report=report)
    assert (found.tree.nodes, found.label) == ((), -1)
    assert (report["solution_without_steps"], report["label_past_end"], report["no_steps"]) == (1, 1, 1)

"""One file of predictions for `evaluate` and every benchmark: by step or by solution, told apart by its columns."""

from __future__ import annotations

import csv
import gzip
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.errors import DataError
from surestep.evaluation.evaluate import evaluate_predictions
from surestep.scoring.predictions.layouts import read_parts
from surestep.scoring.predictions_file import read_predictions
from surestep.scoring.score_file import FileScorer
from surestep.scoring.score_split import confidences_by_tree, score_trees
from surestep.types import chain

SHARE = st.floats(0, 1)
SOLUTION = st.fixed_dictionaries(
    {"dataset": st.sampled_from("ab")},
    optional={"problem": st.sampled_from(["p?", "q?"]), "group": st.sampled_from(["g", "h"])},
).flatmap(
    lambda common: st.lists(st.tuples(st.none() | SHARE, SHARE, st.none() | SHARE), min_size=1, max_size=4).map(
        lambda steps: (common, steps)
    )
)


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def both_layouts(solutions: list[Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The same solutions by step and by solution, each named by its number."""
    by_step, by_solution = [], []
    for name, (common, steps) in enumerate(solutions):
        confidence, raw, label = (list(column) for column in zip(*steps, strict=True))
        raw = [None if known is None else value for known, value in zip(confidence, raw, strict=True)]
        lists = {"confidences": confidence, "raw_confidences": raw, "labels": label}
        by_solution.append(common | {"id": str(name)} | lists)
        for step, values in enumerate(zip(confidence, raw, label, strict=True)):
            row = common | {"problem_id": name, "step": step, "parent": step - 1, "position": step + 1}
            if values[0] is not None:  # a step without a score has no row
                by_step.append(row | dict(zip(("confidence", "raw_confidence", "label"), values, strict=True)))
    return by_step, by_solution


@given(solutions=st.lists(SOLUTION, min_size=1, max_size=5))
def test_both_layouts_are_the_same_steps_to_whoever_reads_them(
    tmp_path_factory: pytest.TempPathFactory, solutions: list[Any]
) -> None:
    solutions = [*solutions, ({"dataset": "a"}, [(0.5, 0.25, 1.0)])]  # a file with nothing measured is refused
    folder = tmp_path_factory.mktemp("both")
    rows, whole = both_layouts(solutions)
    by_step, by_solution = written(folder / "s.jsonl", rows), written(folder / "w.jsonl", whole)
    one, other = read_predictions(by_step), read_predictions(by_solution)
    assert int(np.isnan(other.confidence).sum()) == sum(step[0] is None for _, steps in solutions for step in steps)
    one, other = one.measured(keep_texts=True).densely(), other.measured(keep_texts=True).densely()
    names = [one.dataset_names[index] for index in one.dataset], [other.dataset_names[index] for index in other.dataset]
    assert names[0] == names[1]
    for name in ("confidence", "raw_confidence", "label", "step", "parent", "position"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
    np.testing.assert_array_equal(one.problem_keys[one.problem], other.problem_keys[other.problem])
    trees = [
        replace(chain("p", [f"step {n}" for n in range(len(steps))]), id=str(number), dataset=common["dataset"])
        for number, (common, steps) in enumerate(solutions)
        if any(step[0] is not None for step in steps)  # by step, a solution without a score is not in the file
    ]
    found = [score_trees(FileScorer.read(path), trees) for path in (by_step, by_solution)]
    assert confidences_by_tree(found[0]) == confidences_by_tree(found[1])
    np.testing.assert_array_equal(found[0].raw_confidence, found[1].raw_confidence)


@pytest.mark.parametrize("ending", [".jsonl.gz", ".parquet", ".json", ".csv"])
def test_both_layouts_are_read_from_every_kind_of_file(ending: str, tmp_path: Path) -> None:
    solutions: list[Any] = [
        ({"dataset": "a", "problem": "p?"}, [(0.5, 0.25, 1.0), (None, 0.5, None), (0.75, 0.5, 0.0)]),
        ({"dataset": "b", "group": "g"}, [(0.125, 0.25, None)]),
    ]
    for name, rows in zip(("step", "solution"), both_layouts(solutions), strict=True):
        plain, other = written(tmp_path / f"{name}.jsonl", rows), tmp_path / f"{name}{ending}"
        if ending == ".parquet":
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), other)
        elif ending == ".csv":  # whose cells are texts
            columns = list(dict.fromkeys(column for row in rows for column in row))
            with other.open("w", newline="", encoding="utf-8") as file:
                table = csv.DictWriter(file, columns)
                table.writeheader()
                table.writerows(
                    {column: json.dumps(v) if isinstance(v, list) else v for column, v in row.items()} for row in rows
                )
        else:
            text = plain.read_text() if ending == ".jsonl.gz" else json.dumps(rows)
            other.write_bytes(gzip.compress(text.encode()) if ending == ".jsonl.gz" else text.encode())
        one, again = read_predictions(plain), read_predictions(other)
        for column in ("confidence", "raw_confidence", "label", "dataset", "problem", "tree", "step", "parent"):
            np.testing.assert_array_equal(getattr(one, column), getattr(again, column), column)
        trees = [replace(chain("p", ["s", "t", "u"]), id="0", dataset="a")]
        found = [confidences_by_tree(score_trees(FileScorer.read(path), trees)) for path in (plain, other)]
        assert found == [[[0.5, None, 0.75]]] * 2
    pyarrow.parquet.write_table(pyarrow.table({"scores": [[0.5]]}), tmp_path / "wrong.parquet")
    with pytest.raises(DataError, match="1: the row has no confidence; needed"):
        read_predictions(tmp_path / "wrong.parquet")


@pytest.mark.slow
def test_the_index_of_the_first_error_labels_the_steps_up_to_it(tmp_path: Path) -> None:
    rows = [
        {"subset": "gsm8k", "id": "a", "confidences": [0.9, 0.2, 0.4], "label": 1},
        {"subset": "gsm8k", "id": "b", "confidences": [0.8, None], "label": -1.0},
        {"subset": "math", "id": "b", "confidences": [0.8], "label": None},
    ]
    steps = read_predictions(written(tmp_path / "p.jsonl", rows))
    assert steps.dataset_names == ("gsm8k", "math")
    np.testing.assert_array_equal(steps.label, [1, 0, np.nan, 1, 1, np.nan])
    assert steps.tree.tolist() == [0, 0, 0, 1, 1, 2]
    report = evaluate_predictions(tmp_path / "p.jsonl", output_dir=tmp_path / "r").report
    assert report["per_dataset"]["gsm8k"]["num_steps"] == 3
    assert report["labels_without_confidence"] == {"gsm8k": 1}
    whole = report["solution_level"]["per_dataset"]
    assert whole["gsm8k"]["num_wrong"] == whole["gsm8k"]["left_out"]["without_score"] == 1


def test_solutions_of_one_problem_are_drawn_together_where_the_file_names_both(tmp_path: Path) -> None:
    rows = [{"problem_id": "p", "id": name, "confidences": [0.5], "labels": [1]} for name in "ab"]
    steps = read_predictions(written(tmp_path / "p.jsonl", [*rows, {**rows[0], "problem_id": "q", "id": "c"}]))
    assert (steps.problem.tolist(), steps.tree.tolist()) == ([0, 0, 1], [0, 1, 2])
    assert list(steps.tree_ids) == ["a", "b", "c"]


def test_texts_given_by_solution_are_those_of_the_steps(tmp_path: Path) -> None:
    rows = [{"id": "a", "confidences": [0.5, 0.6], "labels": [1, 0], "steps": ["s", "t"], "problem": "p?"}]
    steps = read_predictions(written(tmp_path / "p.jsonl", rows))
    assert steps.texts is not None
    assert [steps.texts.step(row) for row in range(2)] == ["s", "t"]


def test_by_step_the_order_of_rows_and_the_steps_not_scored_do_not_matter(tmp_path: Path) -> None:
    rows = [
        {"subset": "x", "id": 1, "step": 2, "confidence": 0.25},
        {"subset": "x", "id": 1, "step": 0, "confidence": 0.75, "raw_confidence": 0.5},
        {"subset": "x", "id": 2, "confidence": 0.1},
        {"subset": "x", "id": 2, "confidence": 0.2},
    ]
    scorer = FileScorer.read(written(tmp_path / "p.jsonl", rows))
    trees = [replace(chain("p", ["s"] * count), id=name, dataset="x") for name, count in (("1", 4), ("2", 2))]
    found = score_trees(scorer, trees)
    assert confidences_by_tree(found) == [[0.75, None, 0.25, None], [0.1, 0.2]]
    assert found.raw_confidence[0] == 0.5
    assert scorer.about()["predictions_not_used"] == 0


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            [{"score": 0.5}],
            r"line 1: the row has no confidence; needed: 'confidence' \(one step a row\) or 'confidences'",
        ),
        ([{"id": "a", "scores": [0.5]}], r"its columns are 'id', 'scores' \(rename 'scores' to 'confidences'\)"),
        ([{"id": "a", "confidenses": [0.5]}], r"rename 'confidenses' to 'confidences'"),
        ([{}], "its columns are none"),
        ([{"confidence": 0.5, "confidences": [0.5]}], "the row has 'confidence' and 'confidences'; keep one"),
        (
            [{"confidence": 0.5, "label": 1}, {"id": "a", "confidences": [0.5]}],
            r"line 2: the row is by solution \('confidences'\), p.jsonl, line 1 is by step \('confidence'\)",
        ),
        ([{"id": "a", "confidences": [0.5, 0.4], "labels": [1]}], "1 label for 2 confidences; give one each"),
        ([{"id": "a", "confidences": [0.5], "raw_confidences": [0.1, 0.2]}], "2 raw_confidences for 1 confidence"),
        ([{"id": "a", "confidences": [0.5], "raw_confidences": [2]}], "raw confidence 1 is 2; allowed"),
        ([{"id": "a", "confidences": [0.5], "labels": ["+"]}], "labels 1 is '\\+'; allowed: a number from 0 to 1"),
        ([{"id": "a", "confidences": [0.5], "label": 1}], "'label' is 1 of a solution with 1 step; allowed: -1"),
        ([{"id": "a", "confidences": [0.5], "label": True}], "'label' is True"),
        ([{"id": "a", "confidences": [0.5], "label": 0, "labels": [0]}], "'label' .* and 'labels'"),
        ([{"id": "a", "confidences": [None], "labels": [1]}], "no labelled step has a confidence"),
        ([{"id": "a", "confidences": [0.5]}], "no row has a label"),
    ],
)
def test_a_wrong_layout_is_answered_with_its_columns_and_the_nearest(
    tmp_path: Path, rows: list[dict[str, Any]], words: str
) -> None:
    path = written(tmp_path / "p.jsonl", rows)
    with pytest.raises(DataError, match=words):
        read_predictions(path)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"id": "a", "step": 1, "confidence": 0.5}] * 2, "line 2: step 1 of 'a' stands on line 1 as well"),
        ([{"id": "a", "step": 2, "confidence": 0.5}], "line 1: step 2 of 'a', which has 2 steps; steps count from 0"),
        ([{"id": "a", "confidence": math.nan}], "confidence is nan"),
        ([{"id": "a", "confidence": None}], "the row has no confidence"),
        ([{"confidence": 0.5}], "'id' is missing"),
        ([{"dataset": "other", "id": "a", "confidence": 0.5}], r"the file has that id in other"),
    ],
)
def test_what_does_not_fit_the_solutions_is_one_line(tmp_path: Path, rows: list[dict[str, Any]], words: str) -> None:
    path = written(tmp_path / "p.jsonl", rows)
    with pytest.raises(DataError, match=words):
        score_trees(FileScorer.read(path), [replace(chain("p", ["s", "t"]), id="a", dataset="x")])


def test_a_file_without_subsets_finds_its_solutions_by_id_where_that_is_one(tmp_path: Path) -> None:
    """What `evaluate` wrote of PRM800K belongs to the same file given by name, which is no dataset then."""
    tree = replace(chain("p", ["s"]), id="a", dataset="own")
    rows = [{"dataset": "prm800k", "id": "a", "confidence": 0.5}]
    path = written(tmp_path / "p.jsonl", rows)
    with pytest.raises(DataError, match="the file has that id in prm800k"):
        score_trees(FileScorer.read(path), [tree])
    assert score_trees(FileScorer.read(path, by_id=True), [tree]).confidence.tolist() == [0.5]
    twice = written(tmp_path / "twice.jsonl", [*rows, {"dataset": "other", "id": "a", "confidence": 0.4}])
    with pytest.raises(DataError, match="the file has that id in other, prm800k"):
        score_trees(FileScorer.read(twice, by_id=True), [tree])


@pytest.mark.parametrize("name", ["confidence", "raw_confidence", "true_confidence"])
def test_a_switch_is_no_confidence_in_either_layout(name: str, tmp_path: Path) -> None:
    row = {"id": "a", "confidence": 0.5, "label": True}
    with pytest.raises(DataError, match=f"{name} is True; allowed: a number from 0 to 1"):
        read_predictions(written(tmp_path / "steps.jsonl", [row | {name: True}]))
    assert read_predictions(written(tmp_path / "judged.jsonl", [row])).label.tolist() == [1.0]
    with pytest.raises(DataError, match="confidence 1 is True; allowed: a number from 0 to 1"):
        read_predictions(written(tmp_path / "whole.jsonl", [{"id": "a", "confidences": [True], "labels": [1]}]))


def test_a_part_says_whether_it_is_a_whole_solution(tmp_path: Path) -> None:
    path = written(tmp_path / "p.jsonl", [{"subset": "s", "dataset": "d", "id": "a", "confidences": []}])
    (part,) = read_parts(path)
    assert (part.subset, part.name, part.rows, part.is_solution) == ("s", "a", [], True)

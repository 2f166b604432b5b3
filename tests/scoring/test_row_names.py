"""Which solution and which problem a row is about: the same for whoever reads predictions, in either layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.cli.main import main
from surestep.evaluation.compare.join import KEY_FIELDS
from surestep.scoring.predictions.layouts import read_parts
from surestep.scoring.predictions_file import read_predictions, steps_of_rows
from surestep.scoring.score_file import FileScorer

Rows = list[dict[str, Any]]


def written(path: Path, rows: Rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def solutions_of(path: Path) -> list[tuple[str, frozenset[int]]]:
    """What `evaluate` takes as solutions: their names, and the steps of each."""
    steps = read_predictions(path)
    return sorted(
        (name, frozenset(steps.step[steps.tree == tree].tolist())) for tree, name in enumerate(steps.tree_ids)
    )


def found_by_benchmarks(path: Path) -> list[tuple[str, frozenset[int]]]:
    """The same of what every benchmark looks up."""
    return sorted((name, frozenset(found.confidence)) for (_, name), found in FileScorer.read(path).rows.items())


NAMED = st.lists(
    st.tuples(st.sampled_from([1, "p", "q"]), st.integers(1, 4), st.none() | st.sampled_from(["g", "h"])), min_size=1
)
"""Solutions: the problem that each is of, how many steps it has, and its group."""


@given(named=NAMED, order=st.randoms(use_true_random=False))
def test_where_both_names_stand_id_is_the_solution_to_every_reader(
    tmp_path_factory: pytest.TempPathFactory, named: list[tuple[Any, int, str | None]], order: Any
) -> None:
    named = [("p", 2, None), *named]  # one id stands again, so that ids cannot be numbers of rows
    by_step, by_solution = [], []
    for number, (problem, count, group) in enumerate(named):
        names = {"id": f"s{number}", "problem_id": problem} | ({"group": group} if group else {})
        by_solution.append(names | {"confidences": [0.5] * count, "labels": [1] * count})
        by_step += [names | {"step": step, "confidence": 0.5, "label": 1} for step in range(count)]
    folder = tmp_path_factory.mktemp("named")
    order.shuffle(by_step)
    files = written(folder / "s.jsonl", by_step), written(folder / "w.jsonl", by_solution)
    expected = sorted((f"s{number}", frozenset(range(count))) for number, (_, count, _) in enumerate(named))
    for path in files:
        assert solutions_of(path) == expected
        assert found_by_benchmarks(path) == expected
        steps = read_predictions(path)
        problem_of = {name: steps.problem[steps.tree == tree][0] for tree, name in enumerate(steps.tree_ids)}
        for first, (name, _, group) in enumerate(named):
            for second, (other, _, other_group) in enumerate(named):
                together = (group or str(name)) == (other_group or str(other))
                assert (problem_of[f"s{first}"] == problem_of[f"s{second}"]) == together
        joined = {tuple(str(row.get(name)) for name in KEY_FIELDS) for part in read_parts(path) for row in part.rows}
        assert joined == {("None", name, str(step)) for name, steps_of in expected for step in steps_of}


@given(
    counts=st.lists(st.integers(1, 4), min_size=1, max_size=5).filter(lambda counts: max(counts) > 1),
    text=st.none() | st.just("p?"),
)
def test_ids_that_number_the_rows_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], text: str | None
) -> None:
    rows: Rows = [
        {"problem_id": f"p{number}", "step": step, "confidence": 0.5, "label": 1}
        | ({} if text is None else {"problem": text, "text": "s"})
        for number, count in enumerate(counts)
        for step in range(count)
    ]
    numbered = [{"id": number} | row for number, row in enumerate(rows)]
    folder = tmp_path_factory.mktemp("numbered")
    plain, other = written(folder / "p.jsonl", rows), written(folder / "n.jsonl", numbered)
    assert solutions_of(other) == solutions_of(plain) == found_by_benchmarks(other) == found_by_benchmarks(plain)
    steps, again, in_memory = (
        read_predictions(plain),
        read_predictions(other),
        steps_of_rows((r, 0) for r in numbered),
    )
    for found in (again, in_memory):
        assert found.problem_keys.tolist() == steps.problem_keys.tolist()
        assert (found.problem.tolist(), found.tree.tolist()) == (steps.problem.tolist(), steps.tree.tolist())


@pytest.mark.parametrize(
    ("rows", "solutions"),
    [
        ([{"id": "a", "step": 0}, {"id": "b", "step": 0}], ["a", "b"]),  # a step again: two solutions
        ([{"id": "a"}, {"id": "b"}], ["a", "b"]),  # no step said: one step each
        ([{"id": "a", "step": 0}, {"id": "b", "step": 1}], ["p"]),
        ([{"id": "a", "step": 0}, {"id": "a", "step": 1}], ["a"]),
        ([{"id": 7.0, "step": 0}, {"id": " 7 ", "step": 1}], ["7"]),
        ([{"id": None, "step": 0}, {"id": "", "step": 1}], ["p"]),
        ([{"id": [1], "step": 0}, {"id": 0.5, "step": 1}], ["p"]),  # another program's column
        ([{"id": "p", "step": 0}, {"id": "p", "step": 1}], ["p"]),
    ],
)
def test_both_commands_see_the_same_solutions(
    rows: Rows, solutions: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "p.jsonl", [{"problem_id": "p", "confidence": 0.5, "label": 1.0} | row for row in rows])
    assert [name for name, _ in solutions_of(path)] == solutions
    assert (
        main(
            [
                "evaluate",
                "--predictions",
                str(path),
                "--bootstrap_resamples",
                "0",
                "--baselines",
                "false",
                "--report",
                "false",
            ]
        )
        == 0
    )
    report = json.loads((tmp_path / "eval_p" / "eval_metrics.json").read_text("utf-8"))
    assert report["overall"]["num_problems"] == 1
    steps = 2 // len(solutions)
    data = [{"id": name, "problem": "1?", "steps": ["s"] * steps, "label": -1} for name in solutions]
    asked = ("--data", written(tmp_path / "data.jsonl", data), "--predictions", path, "--resamples", 1)
    assert main([str(one) for one in ("benchmark", "processbench", *asked)]) == 0
    result = json.loads((tmp_path / "eval_p" / "processbench.json").read_text("utf-8"))
    assert result["predictions_not_used"] == 0
    assert result["solutions_not_measured"] == result["steps_not_scored"] == {"data": 0}
    capsys.readouterr()


def test_a_long_file_is_asked_until_an_id_stands_again(tmp_path: Path) -> None:
    rows = [
        {"id": f"{step}-{solution}", "problem_id": "p", "step": 4 * step + solution, "confidence": 0.5, "label": 1}
        for step in range(2)
        for solution in range(2000)
    ]
    rows = [row | {"id": row["id"].partition("-")[2], "step": number} for number, row in enumerate(rows)]
    assert len(solutions_of(written(tmp_path / "again.jsonl", rows))) == 2000
    rows = [row | {"id": number} for number, row in enumerate(rows)]
    assert solutions_of(written(tmp_path / "numbered.jsonl", rows)) == [("p", frozenset(range(4000)))]

"""Best-of-N from every kind of input: scores of any range, predictions, texts and rules, answers of every spelling."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from surestep.data.benchmarks import answers
from surestep.data.benchmarks.candidates import read_candidates
from surestep.data.records.reading_report import ReadReport
from surestep.errors import ConfigError, DataError
from surestep.evaluation.benchmarks.best_of_n import run_best_of_n
from surestep.evaluation.benchmarks.candidate_predictions import CandidateScores, read_candidate_predictions
from surestep.evaluation.benchmarks.result_file import Resampling
from surestep.scoring.score_file import FileScorer

FEW = Resampling(20, 0)


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def problem(*candidates: dict[str, Any], name: str = "p") -> dict[str, Any]:
    return {"problem": f"{name}?", "id": name, "candidates": list(candidates)}


def said(answer: str, correct: bool, **more: Any) -> dict[str, Any]:
    return {"steps": ["Think.", f"So the answer is {answer}."], "correct": correct, "confidences": [0.9, 0.9], **more}


def accuracy(report: dict[str, Any], n: int, method: str, section: str = "methods") -> float:
    return float(report["by_n"][str(n)][section][method]["accuracy"])


@pytest.mark.parametrize(
    ("right", "wrong", "n", "expected"),
    [
        ([r"$\frac{1}{2}$", r"$\frac12$", r"$\tfrac12$", r"$\frac 1 2$"], ["3", "3"], 6, 1.0),
        (["3/4"] * 3, ["1/4"] * 2, 4, 0.7),
        (["−5", "-5", "$-5$"], ["5", "5"], 4, 0.7),
        ([r"$2\sqrt{2}$", r"$\sqrt{8}$", "√8"], ["8", "8"], 4, 0.7),
        (["(C)", r"$\text{(C)}$", "C"], ["(D)", "D"], 4, 0.7),
        (["$x = 5$", "5", "5.0"], ["6", "6"], 4, 0.7),
    ],
)
def test_equal_spellings_are_one_vote(
    tmp_path: Path, right: list[str], wrong: list[str], n: int, expected: float
) -> None:
    data = write(tmp_path / "c.jsonl", problem(*[said(a, True) for a in right], *[said(a, False) for a in wrong]))
    report = run_best_of_n(None, [data], sizes=[n], resampling=FEW).report
    assert accuracy(report, n, "majority") == pytest.approx(expected)
    assert accuracy(report, n, "weighted_majority_min") == pytest.approx(expected)


def test_a_score_of_any_range_ranks_and_weighs_only_where_it_is_not_negative(tmp_path: Path) -> None:
    scored = [({"score": -8.5}, False), ({"score": -2.25}, True), ({"score": 31.0}, True), ({"score": 30.0}, False)]
    rows = [problem(*[{"steps": ["a"], "correct": right, **more} for more, right in scored])]
    result = run_best_of_n(None, [write(tmp_path / "c.jsonl", *rows)], sizes=[2, 4], resampling=FEW)
    methods = result.report["by_n"]["4"]["methods"]
    assert list(methods) == ["pass", "random_choice", "majority", "best_score"]
    assert methods["best_score"]["accuracy"] == 1.0
    # Of the six pairs the right one is ahead in all but {-2.25, 30} and {-8.5, 30}.
    assert accuracy(result.report, 2, "best_score") == pytest.approx(4 / 6)
    again = run_best_of_n(None, [write(tmp_path / "again.jsonl", *result.rows)], sizes=[2, 4], resampling=FEW)
    assert again.report["by_n"] == result.report["by_n"]
    positive = [problem(*[{"steps": ["a"], "correct": right, "score": abs(more["score"])} for more, right in scored])]
    report = run_best_of_n(None, [write(tmp_path / "d.jsonl", *positive)], sizes=[4], resampling=FEW).report
    assert "weighted_majority_score" in report["by_n"]["4"]["methods"]


def test_candidates_that_break_off_without_an_answer_stand_with_and_without(tmp_path: Path) -> None:
    broken = {"steps": ["Think of 12"], "correct": False, "truncated": True, "confidences": [0.99]}
    data = write(tmp_path / "c.jsonl", problem(broken, said("7", True), said("7", True)))
    report = run_best_of_n(None, [data], sizes=[1, 2], resampling=FEW).report
    assert report["candidates_without_answer"] == 1
    assert accuracy(report, 2, "best_min") == pytest.approx(1 / 3)
    assert accuracy(report, 2, "best_min", "answered_only") == 1.0
    assert accuracy(report, 2, "majority") == pytest.approx(2 / 3)
    assert accuracy(report, 2, "majority", "answered_only") == pytest.approx(1.0)
    assert accuracy(report, 1, "majority", "answered_only") == pytest.approx(2 / 3)
    assert "pass" not in report["by_n"]["1"]["answered_only"]
    whole = write(tmp_path / "whole.jsonl", problem(said("7", True), said("8", False)))
    assert "answered_only" not in run_best_of_n(None, [whole], sizes=[1], resampling=FEW).report["by_n"]["1"]


TWO = problem({"steps": ["a", "b"], "correct": True, "answer": "1"}, {"steps": ["a"], "correct": False, "answer": "2"})


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([{"id": "p/0", "confidences": [0.9, 0.8]}, {"id": "p/1", "confidences": [0.3]}], FileScorer),
        (
            [
                {"id": "p", "candidate": 1, "confidences": [0.3]},
                {"id": "p", "candidate": 0, "confidences": [0.9, None]},
            ],
            CandidateScores,
        ),
        ([{"id": "p", "candidate": 0, "score": -1.5}, {"id": "p", "candidate": 1, "score": -20}], CandidateScores),
        ([{"id": "p/0", "score": 3}, {"id": "p/1", "score": 2.5}], CandidateScores),
    ],
)
def test_predictions_of_any_scorer(tmp_path: Path, rows: list[dict[str, Any]], kind: type) -> None:
    data = write(tmp_path / "c.jsonl", TWO)
    scorer = read_candidate_predictions(write(tmp_path / "p.jsonl", *rows))
    assert isinstance(scorer, kind)
    report = run_best_of_n(scorer, [data], sizes=[2], resampling=FEW).report
    method = "best_score" if "score" in rows[0] else "best_min"
    assert accuracy(report, 2, method) == 1.0
    assert report["predictions_not_used"] == 0
    assert len(report["predictions_sha256"]) == 64


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"id": "p", "candidate": 0, "score": 1}], "holds nothing for candidate 1 of 'p'"),
        ([{"id": "p", "candidate": -1, "score": 1}], "'candidate' is -1; allowed: a whole number from 0"),
        ([{"candidate": 0, "score": 1}], "'id' is missing"),
        ([{"id": "p", "candidate": 0, "score": "high"}], "'score' 'high'; allowed: a finite number"),
        ([{"id": "p", "candidate": 0}], "allowed: either 'confidences'"),
        ([{"id": "p", "candidate": 0, "score": 1, "confidences": [0.5]}], "allowed: either 'confidences'"),
        ([{"id": "p", "candidate": 0, "score": 1}] * 2, "stands on line 1 as well"),
        (
            [{"id": "p", "candidate": 0, "score": 1}, {"id": "p", "candidate": 1, "confidences": [0.5]}],
            "some candidates have 'confidences' and others a 'score'",
        ),
        ([{"id": "p", "candidate": n, "confidences": [0.5]} for n in (0, 1)], "1 confidence for candidate 0 of 'p'"),
        ([{"id": "p", "candidate": 0, "confidences": [-3.5, 1]}], "a reward of another range is a 'score'"),
    ],
)
def test_mistakes_in_predictions_are_one_line(tmp_path: Path, rows: list[dict[str, Any]], words: str) -> None:
    data = write(tmp_path / "c.jsonl", TWO)
    with pytest.raises(DataError) as caught:
        run_best_of_n(
            read_candidate_predictions(write(tmp_path / "p.jsonl", *rows)), [data], sizes=None, resampling=FEW
        )
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_score_is_given_to_all_candidates_or_to_none(tmp_path: Path) -> None:
    rows = problem({"steps": ["a"], "correct": True, "score": 1}, {"steps": ["a"], "correct": True})
    with pytest.raises(DataError, match="candidate 2 of 'p' has no 'score', and another one has"):
        run_best_of_n(None, [write(tmp_path / "c.jsonl", rows)], sizes=None, resampling=FEW)


@pytest.mark.parametrize(
    ("rule", "steps"),
    [
        ("lines", ("First\u2028line.", "Second\x0cline.", "So 7.")),
        ("blank_lines", ("First\u2028line.\nSecond\x0cline.", "So 7.")),
        ("sentences", ("First\u2028line.", "Second\x0cline.", "So 7.")),
    ],
)
def test_a_solution_is_split_by_the_rule_that_is_named(tmp_path: Path, rule: str, steps: tuple[str, ...]) -> None:
    row = problem({"solution": "First\u2028line.\nSecond\x0cline.\n\nSo 7.", "correct": True, "score": 1})
    (found,) = read_candidates(write(tmp_path / "c.jsonl", row), report=ReadReport(), split_rule=rule)
    assert found.candidates[0].steps == steps


def test_no_figure_hangs_on_what_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_has_math_verify", lambda: False)
    plain = write(tmp_path / "plain.jsonl", problem(said("7", True), said("$7.0$", True)))
    assert run_best_of_n(None, [plain], sizes=None, resampling=FEW).report["num_problems"] == 1
    hard = write(tmp_path / "hard.jsonl", problem(said(r"$\sqrt{8}$", True), said("7", False)))
    with pytest.raises(
        ConfigError, match=r"math-verify is not installed; needed: pip install 'surestep\[benchmarks\]'"
    ):
        run_best_of_n(None, [hard], sizes=None, resampling=FEW)


def test_rows_that_generate_writes_are_read(tmp_path: Path) -> None:
    row: dict[str, Any] = said("7", True, score=0.9, truncated=False, tokens=5, seconds=0.1, seed=3, text="...")
    row["confidences"] = [0.9, None]
    report = ReadReport()
    (found,) = read_candidates(write(tmp_path / "c.jsonl", problem(row)), report=report)
    assert found.candidates[0].confidences == (0.9, None)
    assert found.candidates[0].score == 0.9

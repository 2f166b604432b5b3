"""Leaks: planted problems are found in every kind of file, and nothing else is."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from surestep.errors import DataError
from surestep.evaluation.check.leaks import ProblemSet, benchmark_files, check_leaks, read_problems
from surestep.evaluation.check.targets import LeakBounds

TRAIN = ProblemSet(
    "own", [f"what is {i} + {i}?" for i in range(10)] + ["why " * 8 + "does it rain so much in the west of"]
)


def test_a_shared_problem_fails_and_is_named() -> None:
    (finding,) = check_leaks([TRAIN], [ProblemSet("bench", ["What is  3 + 3", "new"])], LeakBounds())
    assert (finding.status, finding.value) == ("fail", "1 shared, 0 near copies")
    assert "What is 3 + 3" in finding.detail
    assert "of 2 evaluated and 11 training problems" in finding.detail
    (allowed,) = check_leaks([TRAIN], [ProblemSet("bench", ["What is  3 + 3"])], LeakBounds(max_shared=1))
    assert allowed.status == "pass"


def test_near_copies_are_shown_and_fail_only_where_bounded() -> None:
    words = " ".join(f"word{i}" for i in range(30))
    train, test = ProblemSet("a", [words]), ProblemSet("b", [words + " and more", "other"])
    (shown,) = check_leaks([train], [test], LeakBounds())
    assert (shown.status, shown.value) == ("pass", "0 shared, 1 near copy")
    assert "near copies: 'word0 word1" in shown.detail
    (failed,) = check_leaks([train], [test], LeakBounds(max_near=0))
    assert (failed.status, failed.target) == ("fail", "shared ≤ 0, near ≤ 0")


def test_every_training_set_meets_every_evaluated_set() -> None:
    sets = [ProblemSet(name, [name]) for name in "abc"]
    assert [f.what for f in check_leaks(sets[:2], sets[1:], LeakBounds())] == [
        "a train in b",
        "b train in b",
        "a train in c",
        "b train in c",
    ]


@pytest.mark.parametrize(
    "row",
    [{"problem": "p"}, {"question": "p"}, {"prompt": "p"}, {"question": {"problem": "p"}}, {"question": {"stem": "p"}}],
)
def test_problems_are_found_in_every_layout(tmp_path: Path, row: dict) -> None:
    path = tmp_path / "bench" / "file.jsonl.gz"
    path.parent.mkdir()
    with gzip.open(path, "wt") as file:
        file.write(json.dumps(row) + "\n" + json.dumps({"answer": 1}) + "\n")
    assert read_problems(path) == ProblemSet("bench/file.jsonl.gz", ["p"], 1)


def test_a_file_without_problems_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text('[{"answer": 1}]')
    with pytest.raises(DataError, match="no record has a text 'problem'"):
        read_problems(path)


def test_known_benchmarks_are_found_and_training_files_left_out(tmp_path: Path) -> None:
    for name in (
        "MATH500/test.jsonl",
        "gsm8k/main/test.jsonl",
        "gsm8k/train.jsonl",
        "ProcessBench/gsm8k.json",
        "x/a.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    found = [str(path.relative_to(tmp_path)) for path in benchmark_files(tmp_path)]
    assert found == ["MATH500/test.jsonl", "ProcessBench/gsm8k.json", "gsm8k/main/test.jsonl"]
    assert benchmark_files(tmp_path / "nowhere") == []


def test_real_benchmarks_can_be_read(shared_data: Path) -> None:
    sizes = {read_problems(path).name: len(read_problems(path).problems) for path in benchmark_files(shared_data)}
    assert sizes["MATH500/test.jsonl"] == 500
    assert sizes["ProcessBench/gsm8k.json"] == 400
    assert sizes["GSM8K/example_model_solutions.jsonl"] == 1319

"""`surestep benchmark first-error`: any set of solutions with their first wrong step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from layout_rows import VALID

Command = Callable[..., str]

STEPS = ["one", "two", "three"]
THEIRS = [
    {"input": f"question {number}", "thoughts": {"all": STEPS}, "mistake": mistake, "uid": f"s{number}"}
    for number, mistake in enumerate([2, None, 3, None])
]
CONFIDENCES = [[0.9, 0.2, 0.9], [0.9, 0.9, 0.8], [0.9, 0.4, 0.1], [0.9, 0.3, 0.9]]
MAP = ("--map", "problem=input,steps=thoughts.all,label=mistake,id=uid", "--label_base", "1")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    rows = [{"id": f"s{number}", "confidences": values} for number, values in enumerate(CONFIDENCES)]
    return write(tmp_path / "scores.jsonl", rows)


def test_a_file_of_ones_own_through_a_map(succeed: Command, scores: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "theirs.jsonl", THEIRS)
    out = succeed("benchmark", "first-error", "--data", data, *MAP, "--predictions", scores, "--resamples", "20")
    report = json.loads((tmp_path / "eval_scores" / "first_error.json").read_text())
    assert "First errors at threshold 0.5" in out
    assert "Whole solutions, scored by an aggregate of their steps" in out
    assert "theirs: 0 of 4 problems have several" in out
    whole = report["solution_level"]["theirs"]
    assert (whole["num_right"], whole["num_wrong"]) == (2, 2)
    # The least confidences: 0.2 and 0.1 of the wrong ones, 0.8 and 0.3 of the right ones.
    assert (whole["by_aggregate"]["min"]["auroc"], whole["by_aggregate"]["last"]["auroc"]) == (1.0, 0.625)
    assert report["benchmark"] == "first-error"
    assert report["label_base"] == 1
    assert report["map"] == {"problem": "input", "steps": "thoughts.all", "label": "mistake", "id": "uid"}
    found = report["thresholds"][0]["subsets"]["theirs"]
    assert (found["accuracy_erroneous"], found["accuracy_correct"], found["f1"]) == (0.5, 0.5, 0.5)
    # The same solutions in ProcessBench's own layout, by step this time.
    rows = [
        {"id": row["uid"], "problem": row["input"], "steps": STEPS, "label": (row["mistake"] or 0) - 1}
        for row in THEIRS
    ]
    by_step = [
        {"id": f"s{number}", "step": step, "confidence": value}
        for number, values in enumerate(CONFIDENCES)
        for step, value in enumerate(values)
    ]
    own = write(tmp_path / "theirs.json", rows)
    found = write(tmp_path / "steps.jsonl", by_step)
    succeed("benchmark", "processbench", "--data", own, "--predictions", found, "--resamples", "20")
    again = json.loads((tmp_path / "eval_steps" / "processbench.json").read_text())
    assert again["thresholds"] == report["thresholds"]


def test_files_of_known_layouts_are_recognised(succeed: Command, tmp_path: Path) -> None:
    names = ("mr_ben", "big_bench_mistake", "hard2verify", "agent_process_bench", "tool_prm_bench")
    files = [write(tmp_path / f"{name}.jsonl", [VALID[name]]) for name in names]
    ids = ["u/m", "big_bench_mistake:1", "u", "agent_process_bench:1"]
    rows = [
        {"subset": name, "id": key, "confidences": [0.9, 0.1]} for name, key in zip(names[:4], ids, strict=True)
    ] + [{"subset": "tool_prm_bench", "id": f"1/{leaf}", "confidences": [0.9 - leaf]} for leaf in range(2)]
    rows[-1]["confidences"] = [0.1]
    predictions = write(tmp_path / "p.jsonl", rows)
    succeed("benchmark", "first-error", "--data", *files, "--predictions", predictions, "--resamples", "20")
    report = json.loads((tmp_path / "eval_p" / "first_error.json").read_text())
    assert list(report["layouts"].values()) == list(names)
    subsets = report["thresholds"][0]["subsets"]
    assert [subsets[name]["accuracy_erroneous"] for name in names] == [1.0] * 5
    assert subsets["tool_prm_bench"]["accuracy_correct"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no layout has these keys: 'input', 'mistake', 'thoughts', 'uid'; the nearest is"),
        ((*MAP[:2],), "--map needs --label_base 0 or --label_base 1"),
        (("--label_base", "0"), "--label_base belongs to --map"),
        ((*MAP, "--format", "processbench"), "--map and --format exclude each other"),
        (("--map", "label=mistakes", "--label_base", "1"), "there is no 'problem'"),
        (("--format", "mr_ben"), "'Model_Solution_Correctness' is None; allowed: correct or incorrect"),
    ],
)
def test_what_does_not_fit_is_one_line(
    fail: Command, scores: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    data = write(tmp_path / "theirs.jsonl", THEIRS)
    assert words in fail("benchmark", "first-error", "--data", data, "--predictions", scores, *arguments)

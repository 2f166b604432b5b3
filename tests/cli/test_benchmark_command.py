"""`surestep benchmark`: from a checkpoint or from confidences to a result file and a table; mistakes are one line."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from documents import run
from runs import DATA_FLAGS, read_lines
from surestep.cli.main import main

Command = Callable[..., str]

SOLUTIONS = [
    {"id": "m-0", "problem": "1 + 1?", "steps": ["add 1 and 1", "it is 3"], "label": 1},
    {"id": "m-1", "problem": "1 + 2?", "steps": ["add 1 and 2", "it is 3"], "label": -1},
    {"id": "m-2", "problem": "2 + 2?", "steps": ["double 2"], "label": 5},
]
CONFIDENCES = [{"id": "m-0", "confidences": [0.9, 0.4]}, {"id": "m-1", "confidences": [0.9, 0.6]}]
CANDIDATES = [
    {
        "problem": "1 + 1?",
        "candidates": [
            {"steps": ["add 1 and 1", "it is 2"], "correct": True, "confidences": [0.9, 0.8]},
            {"steps": ["add 1 and 1", "it is 3"], "correct": False, "confidences": [0.9, 0.2]},
        ],
    }
]
PRM = [
    {
        "idx": "1",
        "original_question": "1 + 1?",
        "modified_question": "1 + 1?",
        "modified_process": ["add 1 and 1", "it is 3"],
        "error_steps": [2, 9],
        "classification": "counterfactual",
    }
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def checkpoint(
    backbone_folder: Callable[[str], Path], run_files: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A checkpoint of one step."""
    folder = tmp_path_factory.mktemp("benchmark")
    flags = [
        *("train", "--preset", "lora", "--backbone", backbone_folder("llama"), "--mlp_hidden_dims", "[16]"),
        *(*DATA_FLAGS, "--own_train", run_files / "train.jsonl", "--cache_dir", run_files / "cache"),
        *("--output_dir", folder, "--experiment_name", "run", "--device", "cpu", "--tensorboard", "false"),
        *("--max_steps", "1", "--batch_size", "2", "--gradient_accumulation_steps", "1", "--warmup_steps", "0"),
        *("--bootstrap_resamples", "20", "--baselines", "false"),
    ]
    assert main([str(flag) for flag in flags]) == 0
    return folder / "run" / "checkpoint_step_1"


def test_processbench_from_a_checkpoint_and_again_from_what_it_saved(
    succeed: Command, checkpoint: Path, tmp_path: Path
) -> None:
    data = write(tmp_path / "math.jsonl", SOLUTIONS)
    common = ("benchmark", "processbench", "--data", data, "--resamples", "20")
    out = succeed(*common, "--checkpoint", checkpoint, "--output_dir", tmp_path / "r", "--save_predictions")
    report = json.loads((tmp_path / "r" / "processbench.json").read_text())
    assert "1 record whose error index is outside its steps" in out
    assert report["step"] == 1
    assert len(report["manifest_sha256"]) == len(report["data"][0]["sha256"]) == 64
    assert report["settings"]["model"]["backbone"]
    assert report["versions"]["torch"]
    assert report["calibration"] == {"stored": False, "applied": "none"}
    saved = tmp_path / "r" / "processbench_predictions.jsonl"
    assert [row["id"] for row in read_lines(saved)] == ["m-0", "m-1"]
    succeed(*common, "--predictions", saved, "--output_dir", tmp_path / "again")
    again = json.loads((tmp_path / "again" / "processbench.json").read_text())
    assert again["thresholds"] == report["thresholds"]
    # The command in the result file makes the same result file.
    assert shlex.split(report["command"])[:3] == ["surestep", "benchmark", "processbench"]
    succeed(*shlex.split(report["command"])[1:])
    repeated = json.loads((tmp_path / "r" / "processbench.json").read_text())
    for one in (repeated, report):  # all but when it was, and how long it took
        assert one.pop("made")
        assert one["cost"].pop("seconds") > 0
    assert repeated == report


def test_prmbench_and_best_of_n_from_a_checkpoint(succeed: Command, checkpoint: Path, tmp_path: Path) -> None:
    for name, rows, file in (("prmbench", PRM, "prmbench.json"), ("best-of-n", CANDIDATES, "best_of_n.json")):
        data = write(tmp_path / f"{name}.jsonl", rows)
        out = succeed("benchmark", name, "--data", data, "--checkpoint", checkpoint, "--resamples", "20")
        # Beside the evaluation of this checkpoint's test split.
        path = checkpoint.parents[1] / "eval_run" / "checkpoint_step_1" / file
        assert f"results: {path}" in out
        assert json.loads(path.read_text())["benchmark"] == name


def test_a_threshold_chosen_on_named_data(succeed: Command, tmp_path: Path) -> None:
    data = write(tmp_path / "math.jsonl", SOLUTIONS)
    other = [dict(row, id=f"o-{n}", problem=f"other {n}") for n, row in enumerate(SOLUTIONS[:2])]
    others = write(tmp_path / "other.jsonl", other)
    found = write(tmp_path / "p.jsonl", CONFIDENCES)
    theirs = write(
        tmp_path / "q.jsonl", [{"id": "o-0", "confidences": [0.9, 0.6]}, {"id": "o-1", "confidences": [0.9, 0.8]}]
    )
    common = ("benchmark", "processbench", "--data", data, "--predictions", found)
    out = succeed(*common, "--threshold-data", others, "--threshold-predictions", theirs)
    report = json.loads((tmp_path / "eval_p" / "processbench.json").read_text())
    chosen = report["thresholds"][-1]
    assert chosen["threshold"] == pytest.approx(0.7)
    assert chosen["subsets"]["math"]["f1"] == 0.0  # a right solution with 0.6 is called wrong now
    assert report["thresholds"][0]["subsets"]["math"]["f1"] == 1.0
    assert "highest mean F1 on" in out
    assert "math at 0.7: F1 is not shown to be above" in out
    assert "the threshold's data:" not in out  # nothing was left out there
    # Both may stand in one file.
    both = write(tmp_path / "both.jsonl", [*CONFIDENCES, *read_lines(theirs)])
    succeed("benchmark", "processbench", "--data", data, "--predictions", both, "--threshold-data", others)
    again = json.loads((tmp_path / "eval_both" / "processbench.json").read_text())
    assert again["thresholds"][-1]["threshold"] == chosen["threshold"]
    assert again["predictions_not_used"] == 0


def test_several_files_are_several_subsets(succeed: Command, tmp_path: Path) -> None:
    files = [write(tmp_path / f"{name}.jsonl", SOLUTIONS[:2]) for name in ("math", "gsm8k")]
    rows = [row | {"subset": name} for name in ("math", "gsm8k") for row in CONFIDENCES]
    found = write(tmp_path / "p.jsonl", rows)
    succeed("benchmark", "processbench", "--data", *files, "--predictions", found, "--resamples", "20")
    half = json.loads((tmp_path / "eval_p" / "processbench.json").read_text())["thresholds"][0]
    assert list(half["subsets"]) == ["math", "gsm8k"]
    assert half["mean"]["f1"] == 1.0


def test_scores_in_the_file(succeed: Command, tmp_path: Path) -> None:
    out = succeed("benchmark", "best-of-n", "--data", write(tmp_path / "c.jsonl", CANDIDATES), "--save_predictions")
    report = json.loads((tmp_path / "eval_c" / "best_of_n.json").read_text())
    assert report["by_n"]["2"]["methods"]["best_last"]["accuracy"] == 1.0
    assert "best product" in out
    assert (tmp_path / "eval_c" / "best_of_n_predictions.jsonl").is_file()


def test_scores_of_another_scorer_and_answers_that_are_missing(succeed: Command, tmp_path: Path) -> None:
    broken = {"solution": "Think.\n\nOf what", "correct": False, "truncated": True}
    right = {"solution": "Think.\n\nSo $\\frac12$.", "correct": True}
    data = write(tmp_path / "c.jsonl", [{"problem": "p?", "id": "p", "candidates": [broken, right]}])
    scores = [{"id": "p", "candidate": n, "score": -3.5 - n} for n in range(2)]
    out = succeed("benchmark", "best-of-n", "--data", data, "--predictions", write(tmp_path / "s.jsonl", scores))
    report = json.loads((tmp_path / "eval_s" / "best_of_n.json").read_text())
    assert report["by_n"]["2"]["methods"]["best_score"]["accuracy"] == 0.0
    assert report["by_n"]["2"]["answered_only"]["best_score"]["accuracy"] == 1.0
    assert "only candidates with an answer" in out
    assert "1 candidate has no answer" in out
    assert "no vote is weighted by 'score': some scores are below 0" in out
    confidences = [{"id": f"p/{n}", "confidences": [0.5, 0.5 + n / 10]} for n in range(2)]
    by_step = write(tmp_path / "t.jsonl", confidences)
    succeed("benchmark", "best-of-n", "--data", data, "--predictions", by_step, "--split_rule", "blank_lines")
    report = json.loads((tmp_path / "eval_t" / "best_of_n.json").read_text())
    assert report["split_rule"] == "blank_lines"
    assert report["by_n"]["2"]["methods"]["best_last"]["accuracy"] == 1.0


def test_problems_with_fewer_candidates_are_named(succeed: Command, tmp_path: Path) -> None:
    alone = {"problem": "2 + 2?", "candidates": CANDIDATES[0]["candidates"][:1]}
    data = write(tmp_path / "c.jsonl", [*CANDIDATES, alone])
    out = succeed("benchmark", "best-of-n", "--data", data)
    assert "problems have 1 to 2 candidates; --n measures larger N" in out
    assert "N = 2" not in out
    assert "N = 2: 1 problem has fewer candidates" in succeed("benchmark", "best-of-n", "--data", data, "--n", "1,2")


def test_the_papers_protocol_and_ties_are_said(succeed: Command, tmp_path: Path) -> None:
    data = write(tmp_path / "gsm8k.jsonl", SOLUTIONS[:2])
    found = write(tmp_path / "p.jsonl", [CONFIDENCES[0], {"id": "m-1", "confidences": [0.9, 0.5]}])
    out = succeed("benchmark", "processbench", "--data", data, "--predictions", found, "--protocol", "paper")
    assert "gsm8k (tuned on it)" in out
    assert "1 step has a confidence equal to the threshold 0.5: called wrong" in out
    report = json.loads((tmp_path / "eval_p" / "processbench.json").read_text())
    assert [at["subsets"]["gsm8k"]["f1"] for at in report["thresholds"]] == [0.0, 1.0]


def test_prmbench_in_the_layout_of_its_own_program(succeed: Command, tmp_path: Path) -> None:
    row = PRM[0] | {"classification": "redundency", "original_process": ["add 1 and 1", "it is 2"], "error_steps": [2]}
    data = write(tmp_path / "prm.jsonl", [row | {"modified_process": ["Step 1. add", "", "it is 3"]}])
    rows = [{"id": "correct_1", "confidences": [0.9, 0.9]}, {"id": "redundency_1", "confidences": [0.9, 0.5, None]}]
    common = ("benchmark", "prmbench", "--data", data)
    found = write(tmp_path / "p.jsonl", [rows[0], {"id": "redundency_1", "confidences": [0.9, 0.5, 0.8]}])
    out = succeed(*common, "--predictions", found, "--official_layout", "--step_numbers", "remove")
    assert "1 step whose number in front" in out
    assert "1 empty step kept" in out
    folder = tmp_path / "eval_p"
    first = json.loads((folder / "prmbench.json").read_text())
    assert first["overall"]["similarity"] == pytest.approx(1 / 3)
    assert read_lines(folder / "prmbench_official.jsonl") == [first["official"]]
    succeed(*common, "--predictions", folder / "prmbench_official_scores.jsonl", "--output_dir", tmp_path / "again")
    again = json.loads((tmp_path / "again" / "prmbench.json").read_text())
    assert again["categories"] == first["categories"]
    out = succeed(*common, "--predictions", write(tmp_path / "q.jsonl", rows[1:]))
    assert "1 solution left out of every figure: a step of theirs was not scored" in out
    assert "1 solution before the change without a line in the predictions" in out
    assert "redundency: no solution was scored to its end, so it has no figures" in out
    assert "not in the data: redundency" not in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["processbench", "--data", "{math}", "--predictions", "{found}", "--protocol", "paper"],
            "subset 'gsm8k', and",
        ),
        (["processbench", "--data", "{math}"], "one of --checkpoint FOLDER, --predictions FILE, --scorer FORM:PATH"),
        (["prmbench", "--data", "{prm}"], "one of --checkpoint FOLDER, --predictions FILE, --scorer FORM:PATH"),
        (["processbench", "--data", "{math}", "--checkpoint", "a", "--predictions", "b"], "exclude each other"),
        (["processbench", "--data", "{math}", "--checkpoint", "{empty}.d"], "no such checkpoint"),
        (["processbench", "--data", "{math}", "--predictions", "{empty}"], "the file is empty"),
        (["processbench", "--data", "{empty}", "--predictions", "{found}"], "the file is empty"),
        (["processbench", "--data", "missing.json", "--predictions", "{found}"], "no such file"),
        (["processbench", "--data", "{math}", "--predictions", "{cut}"], "'m-1' of math"),
        (["processbench", "--data", "{found}", "--predictions", "{found}"], "line 1: 'label' is None"),
        (
            ["processbench", "--data", "{math}", "--predictions", "{found}", "--threshold-data", "{math}"],
            "never tuned on what it is measured on",
        ),
        (
            ["processbench", "--data", "{math}", "--predictions", "{found}", "--threshold-predictions", "{found}"],
            "--threshold_predictions needs --predictions and --threshold_data",
        ),
        (["prmbench", "--data", "{math}", "--predictions", "{found}"], "'classification' is missing"),
        (["best-of-n", "--data", "{math}"], "line 1: the candidate has 'correct' None; allowed: true or false"),
        (["best-of-n", "--data", "{candidates}", "--n", "4"], "--n 4: no problem has so many candidates"),
        (["best-of-n", "--data", "{empty}"], "the file is empty"),
        (["best-of-n", "--data", "{candidates}", "--checkpoint", "a", "--predictions", "b"], "exclude each other"),
        (["best-of-n", "--data", "{candidates}", "--split_rule", "pages"], "the rule for splitting steps is 'pages'"),
        (["best-of-n", "--data", "{candidates}", "--split_rule", "checkpoint"], "needs --checkpoint FOLDER"),
    ],
)
def test_mistakes_are_one_line(fail: Command, tmp_path: Path, arguments: list[str], words: str) -> None:
    files = {
        "math": write(tmp_path / "math.jsonl", SOLUTIONS),
        "prm": write(tmp_path / "prm.jsonl", PRM),
        "candidates": write(tmp_path / "candidates.jsonl", CANDIDATES),
        "found": write(tmp_path / "found.jsonl", CONFIDENCES),
        "cut": write(tmp_path / "cut.jsonl", CONFIDENCES[:1]),
        "empty": write(tmp_path / "empty.jsonl", []),
    }
    assert words in fail("benchmark", *(argument.format(**files) for argument in arguments))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["processbench", "--threshold", "1.5"], "1.5; allowed: 0 to 1"),
        (["best-of-n", "--n", "1,x"], "allowed: whole numbers from 1"),
        (["best-of-n", "--n", "0"], "'0'; allowed: whole numbers from 1, with commas between"),
        (["prmbench", "--resamples", "0"], "allowed: a whole number from 1"),
        (["nothing"], "invalid choice"),
    ],
)
def test_bad_flags_say_what_is_allowed(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["benchmark", arguments[0], "--data", "x", *arguments[1:]])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_as_a_process(tmp_path: Path, quick_python: Path) -> None:
    data = write(tmp_path / "candidates.jsonl", CANDIDATES)
    ran = run(["surestep", "benchmark", "best-of-n", "--data", str(data)], tmp_path, first_on_path=quick_python)
    assert ran.code == 0, ran.output
    assert "pass@N" in ran.output
    ran = run(
        ["surestep", "benchmark", "prmbench", "--data", str(data), "--predictions", str(data)],
        tmp_path,
        first_on_path=quick_python,
    )
    assert ran.code == 2
    assert ran.output.count("\n") == 1
    assert "Traceback" not in ran.output

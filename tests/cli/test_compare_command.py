"""`surestep compare`: what is found, in which order, and which differences are called real."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from documents import run
from surestep.cli.main import main
from surestep.metrics.figures import with_direction

Command = Callable[..., str]
FAST = ("--report", "false", "--bootstrap_resamples", "20", "--baselines", "false")


def write_scores(folder: Path, error: float, *, seed: int = 0, num_problems: int = 60, keep: int = 10**6) -> Path:
    """Evaluate a made scorer of 4 steps in each problem; `error` pushes its confidences away from the labels."""
    labels = np.random.default_rng(7).random((num_problems, 4)) < 0.7
    noise = np.random.default_rng(seed).random(labels.shape)
    folder.mkdir(parents=True)
    rows = [
        {
            "dataset": "sums",
            "problem_id": f"p{i}",
            "step": j,
            "position": j + 1,
            "label": float(labels[i, j]),
            "confidence": float(np.clip(labels[i, j] * (1 - error) + error * noise[i, j], 0.01, 0.99)),
        }
        for i in range(num_problems)
        for j in range(4)
    ]
    path = folder / "predictions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:keep]), encoding="utf-8")
    assert main(["evaluate", "--predictions", str(path), "--output_dir", str(folder), *FAST]) == 0
    return folder


def compared(succeed: Command, *arguments: object) -> dict[str, Any]:
    return json.loads(succeed("compare", "--json", *arguments))


def verdicts(result: dict[str, Any]) -> dict[str, str]:
    return {Path(row["name"]).name: row["verdict"] for row in result["runs"]}


@pytest.mark.slow
def test_runs_are_ordered_and_real_differences_told_from_others(succeed: Command, tmp_path: Path) -> None:
    folders = [write_scores(tmp_path / name, e, seed=s) for name, e, s in (("c", 0.9, 1), ("a", 0.4, 2), ("b", 0.4, 3))]
    result = compared(succeed, *folders)
    names = [Path(row["name"]).name for row in result["runs"]]
    assert names[2] == "c"
    assert result["better"] == "lower"
    nll = [row["figures"]["nll"] for row in result["runs"]]
    assert nll == sorted(nll)
    said = verdicts(result)
    assert said[names[0]] == "best"
    assert said[names[1]].startswith("no difference to the best is shown: nll")
    assert "covers 0" in said[names[1]]
    assert said["c"].startswith("worse than the best on the same steps: nll +")
    worst = result["runs"][2]
    assert worst["difference"]["low"] > 0
    assert worst["difference"]["difference"] == pytest.approx(nll[2] - nll[0])
    assert any("by chance" in note for note in result["notes"])


@pytest.mark.slow
def test_a_figure_where_more_is_better_sorts_downward(succeed: Command, tmp_path: Path) -> None:
    good, bad = write_scores(tmp_path / "good", 0.7), write_scores(tmp_path / "bad", 0.97)
    result = compared(succeed, bad, good, "--sort", "auroc")
    assert [row["name"] for row in result["runs"]] == [str(good), str(bad)]
    assert result["runs"][1]["difference"]["high"] < 0
    assert result["runs"][1]["verdict"].startswith("worse")


@pytest.mark.slow
def test_a_difference_of_ece_is_said_to_be_understated(succeed: Command, tmp_path: Path) -> None:
    folders = [write_scores(tmp_path / name, error) for name, error in (("a", 0.1), ("b", 0.6))]
    assert any("understated" in note for note in compared(succeed, *folders, "--sort", "ece")["notes"])
    assert not any("understated" in note for note in compared(succeed, *folders)["notes"])


@pytest.mark.slow
def test_the_table_says_it_in_words(succeed: Command, tmp_path: Path) -> None:
    out = succeed("compare", write_scores(tmp_path / "a", 0.2), write_scores(tmp_path / "b", 0.9, seed=2))
    assert "overall, by nll (lower is better)" in out
    assert "worse than the best on the same steps" in out
    assert "95% intervals by 1,000 paired resamples of problems" in out


@pytest.mark.slow
def test_steps_that_only_one_run_scored_are_counted(succeed: Command, tmp_path: Path) -> None:
    whole, part = write_scores(tmp_path / "whole", 0.2), write_scores(tmp_path / "part", 0.9, keep=200)
    result = compared(succeed, whole, part, "--allow_different")
    assert result["runs"][1]["difference"]["num_steps"] == 200
    assert "40 of the best's are not among this run's" in result["runs"][1]["verdict"]
    assert any(note.startswith("NOT the same data: ") and "240 steps" in note for note in result["notes"])


def test_other_data_is_refused_unless_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    whole, part = write_scores(tmp_path / "whole", 0.2), write_scores(tmp_path / "part", 0.9, keep=200)
    capsys.readouterr()
    assert main(["compare", str(whole), str(part)]) == 2
    err = capsys.readouterr().err
    assert "measured 240 steps in 60 problems" in err
    assert "--allow_different" in err


@pytest.mark.parametrize(("field", "value", "words"), [("split", "test", "splits as given and test")])
def test_other_splits_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture, field: str, value: str, words: str
) -> None:
    one, two = write_scores(tmp_path / "one", 0.2), write_scores(tmp_path / "two", 0.3)
    path = two / "eval_metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    assert main(["compare", str(one), str(two)]) == 2
    assert words in capsys.readouterr().err


def test_other_fingerprints_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folders = [write_scores(tmp_path / name, 0.2) for name in ("one", "two")]
    for number, folder in enumerate(folders):
        path = folder / "eval_metrics.json"
        datasets = {"datasets": {"sums": {"fingerprint": f"{number}234567890"}}}
        path.write_text(json.dumps(json.loads(path.read_text()) | datasets))
    assert main(["compare", *map(str, folders)]) == 2
    assert "read different data as sums (fingerprints 02345678, 12345678)" in capsys.readouterr().err


def test_without_predictions_the_figures_stand_and_a_line_says_why(succeed: Command, tmp_path: Path) -> None:
    one, two = write_scores(tmp_path / "one", 0.2), write_scores(tmp_path / "two", 0.3)
    (two / "predictions.jsonl").unlink()
    out = succeed("compare", one, two)
    assert f"no difference is given: {two} has no predictions.jsonl (evaluate with --save_predictions true)" in out


@pytest.mark.slow
def test_steps_written_as_floats_are_the_same_steps(succeed: Command, tmp_path: Path) -> None:
    """And a label that nobody gave is none, whether null or NaN stands for it."""
    one, two = write_scores(tmp_path / "one", 0.2), write_scores(tmp_path / "two", 0.3)
    plain = compared(succeed, one, two)["runs"][1]["difference"]
    path = two / "predictions.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows.insert(1, rows[0] | {"problem_id": "unjudged", "label": float("nan")})
    path.write_text("".join(json.dumps(row | {"step": float(row["step"])}) + "\n" for row in rows))
    assert compared(succeed, one, two)["runs"][1]["difference"] == plain


@pytest.mark.slow
def test_rows_without_a_step_cannot_be_joined_and_say_so(succeed: Command, tmp_path: Path) -> None:
    one, two = write_scores(tmp_path / "one", 0.2), write_scores(tmp_path / "two", 0.3)
    path = two / "predictions.jsonl"
    path.write_text(path.read_text().replace('"step": 0, ', "", 1))
    assert "line 1: the row has no step, so it cannot be joined" in succeed("compare", one, two)


@pytest.mark.slow
def test_predictions_left_from_another_evaluation_are_not_used(succeed: Command, tmp_path: Path) -> None:
    one, two = write_scores(tmp_path / "one", 0.2), write_scores(tmp_path / "two", 0.3)
    other = write_scores(tmp_path / "other", 0.5) / "predictions.jsonl"
    (two / "predictions.jsonl").write_text(other.read_text())
    assert "is of another evaluation than eval_metrics.json" in succeed("compare", one, two)


def test_one_run_is_a_table_of_one(succeed: Command, tmp_path: Path) -> None:
    result = compared(succeed, write_scores(tmp_path / "one", 0.2))
    assert verdicts(result) == {"one": "best"}
    assert result["notes"] == []


def test_a_step_that_stands_twice_is_named(fail: Command, tmp_path: Path) -> None:
    one, two = write_scores(tmp_path / "one", 0.2), write_scores(tmp_path / "two", 0.3)
    path = two / "predictions.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, lines[3]]))
    err = fail("compare", one, two)
    assert "line 241" in err
    assert "sums / p0 / 3 is in the file twice" in err


def test_a_confidence_out_of_range_is_named_with_its_line(fail: Command, tmp_path: Path) -> None:
    one, two = write_scores(tmp_path / "one", 0.2), write_scores(tmp_path / "two", 0.3)
    lines = (two / "predictions.jsonl").read_text().splitlines()
    row = json.loads(lines[4]) | {"confidence": 1.2}
    (two / "predictions.jsonl").write_text("\n".join([*lines[:4], json.dumps(row), *lines[5:]]))
    err = fail("compare", one, two)
    assert "line 5" in err
    assert "1.2" in err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere is not there"),
        (["{one}", "--sort", "speed"], "'speed' is no figure"),
        (["{one}", "--dataset", "maps"], "has no dataset 'maps'; allowed: sums, overall"),
        (["{one}", "--resamples", "3"], "--resamples is 3; allowed: 100"),
        (["{one}", "--seed", "-1"], "--seed is -1"),
        (["{one}", "--split", "test"], "is a result of the as given split"),
        (["{one}/.."], "holds none of these"),
        (["{one}/predictions.jsonl"], "not valid JSON"),
    ],
)
def test_bad_input_is_one_line(fail: Command, tmp_path: Path, arguments: list[str], words: str) -> None:
    one = write_scores(tmp_path / "one", 0.2, num_problems=5)
    assert words in fail("compare", *(argument.format(one=one) for argument in arguments))


@pytest.mark.slow
def test_checkpoints_and_experiments_lead_to_their_evaluations(
    succeed: Command, fail: Command, flags: list[str], tmp_path: Path, quick_python: Path
) -> None:
    outputs = tmp_path / "outputs"
    succeed("train", "--preset", "lora", *flags)
    succeed("train", "--preset", "lora", *flags, "--experiment_name", "other", "--learning_rate", "0.01")
    checkpoints = [outputs / "run" / f"checkpoint_step_{step}" for step in (2, 4)]
    if unevaluated := [c for c in checkpoints if not is_best(c)]:
        err = fail("compare", *checkpoints, "--split", "test")
        assert "surestep evaluate --checkpoint" in err
        assert f"{unevaluated[0]} has no evaluation" in fail("compare", unevaluated[0])
    succeed("evaluate", "--checkpoint", checkpoints[0], "--save_predictions", *FAST)
    # The document's own way of naming a folder for the result.
    succeed(
        *("evaluate", "--checkpoint", checkpoints[1], "--save_predictions", *FAST),
        *("--output_dir", outputs / "eval_run_step_4"),
    )
    result = compared(succeed, *checkpoints, "--split", "test")
    assert {(row["split"], row["step"]) for row in result["runs"]} == {("test", 2), ("test", 4)}
    assert result["runs"][1]["difference"]["is_real"] is not None
    assert result["notes"] == []

    # Experiments: the validation results, which the document's snippet reads, give the same best by its figure.
    ran = run(["surestep", "compare", "run", "other", "--sort", "mse", "--json"], outputs, first_on_path=quick_python)
    assert ran.code == 0, ran.output
    found = json.loads(ran.output)
    reports = {
        name: json.loads((outputs / f"eval_{name}" / "eval_metrics.json").read_text()) for name in ("run", "other")
    }
    assert found["best"] == min(reports, key=lambda name: reports[name]["overall"]["mse"])
    assert {row["split"] for row in found["runs"]} == {"validation"}
    # Training keeps its predictions and says what data it read, so the difference is measured.
    assert found["runs"][1]["difference"]["is_real"] is not None
    assert found["notes"] == []


def is_best(checkpoint: Path) -> bool:
    """Whether training left its validation result for this checkpoint."""
    best = json.loads((checkpoint.parent / "best_checkpoint.json").read_text())["checkpoint"]
    return best == checkpoint.name


@pytest.mark.slow
def test_a_missing_folder_ends_a_process_with_one_line(tmp_path: Path, quick_python: Path) -> None:
    ran = run(["surestep", "compare", "nowhere"], tmp_path, first_on_path=quick_python)
    assert ran.code == 2
    assert ran.output.startswith("surestep: nowhere is not there")
    assert ran.output.count("\n") == 1


@pytest.mark.slow
def test_every_difference_is_that_of_the_figures_in_the_table(succeed: Command, tmp_path: Path) -> None:
    """One estimator for both: the noise that the RMS error takes off is that of problems in either."""
    folders = [write_scores(tmp_path / name, error, seed=1) for name, error in (("a", 0.3), ("b", 0.9))]
    for name in with_direction():
        result = compared(succeed, *folders, "--sort", name, "--resamples", "100")
        best, other = result["runs"]
        shown = other["figures"][name] - best["figures"][name]
        assert other["difference"]["difference"] == pytest.approx(shown, abs=1e-12), name

"""`surestep evaluate`: where results go and what they say."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runs import count_labels, hashes, read_lines

ROOT = Path(__file__).resolve().parents[2]
Command = Callable[..., str]


@pytest.fixture
def checkpoint(finished_run: Path) -> Path:
    """The last checkpoint of a finished run."""
    return finished_run / "checkpoint_step_2"


def report_at(folder: Path) -> dict:
    return json.loads((folder / "eval_metrics.json").read_text())


@pytest.mark.slow
def test_results_go_below_the_validation_result_and_leave_it_alone(
    succeed: Command, checkpoint: Path, tmp_path: Path, run_files: Path
) -> None:
    folder = checkpoint.parents[1] / "eval_run"
    before = hashes(folder)
    out = succeed("evaluate", "--checkpoint", checkpoint)
    assert f"results: {folder / 'checkpoint_step_2' / 'eval_metrics.json'}" in out
    assert hashes(folder)["eval_metrics.json"] == before["eval_metrics.json"]
    report = report_at(folder / "checkpoint_step_2")
    assert report["split"] == "test"
    assert report["step"] == 2
    assert report["overall"]["num_steps"] == count_labels(run_files / "test.jsonl")
    assert f"predictions: {folder / 'checkpoint_step_2' / 'predictions.jsonl.gz'}" in out
    assert len(read_lines(folder / "checkpoint_step_2" / "predictions.jsonl.gz")) >= report["overall"]["num_steps"]
    declined = ("--save_predictions", "false", "--report", "false", "--output_dir", tmp_path / "declined")
    succeed("evaluate", "--checkpoint", checkpoint, *declined)
    assert {path.name for path in (tmp_path / "declined").iterdir()} == {"eval_metrics.json"}


@pytest.mark.slow
def test_an_output_dir_is_taken_as_given(succeed: Command, checkpoint: Path, tmp_path: Path) -> None:
    succeed("evaluate", "--checkpoint", checkpoint, "--output_dir", tmp_path / "here", "--save_predictions")
    written = {path.name for path in (tmp_path / "here").iterdir()}
    assert written == {"eval_metrics.json", "predictions.jsonl.gz", "report.html", "plots", "MODEL_CARD.md"}
    assert not (checkpoint.parents[1] / "eval_run" / "checkpoint_step_2").exists()


@pytest.mark.slow
def test_merged_weights_on_request(succeed: Command, checkpoint: Path, tmp_path: Path) -> None:
    succeed("evaluate", "--checkpoint", checkpoint, "--output_dir", tmp_path / "own")
    out = succeed(
        "evaluate", "--checkpoint", checkpoint, "--scoring_weights", "merged", "--output_dir", tmp_path / "merged"
    )
    assert "adapters: merged into the weights" in out
    own, merged = report_at(tmp_path / "own")["overall"], report_at(tmp_path / "merged")["overall"]
    assert merged["num_steps"] == own["num_steps"]
    assert merged["mse"] == pytest.approx(own["mse"], abs=1e-5)


@pytest.mark.slow
def test_the_validation_split_on_request(succeed: Command, checkpoint: Path, tmp_path: Path) -> None:
    out = succeed("evaluate", "--checkpoint", checkpoint, "--split", "validation", "--output_dir", tmp_path / "v")
    assert "validation split" in out
    found, left = report_at(tmp_path / "v"), report_at(checkpoint.parents[1] / "eval_run")
    assert found["overall"]["num_steps"] == left["overall"]["num_steps"]


@pytest.mark.slow
def test_predictions_of_any_scorer_are_reported_beside_the_checkpoints_own_result(
    succeed: Command, checkpoint: Path, tmp_path: Path
) -> None:
    succeed("evaluate", "--checkpoint", checkpoint, "--save_predictions", "--output_dir", tmp_path / "own")
    before = hashes(tmp_path / "own")
    out = succeed("evaluate", "--predictions", tmp_path / "own" / "predictions.jsonl.gz")
    assert str(tmp_path / "own" / "eval_predictions" / "eval_metrics.json") in out
    own = {name: value for name, value in hashes(tmp_path / "own").items() if not name.startswith("eval_predictions")}
    assert own == before
    again = report_at(tmp_path / "own" / "eval_predictions")["overall"]
    first = report_at(tmp_path / "own")["overall"]
    for figure in ("mse", "mae", "r2", "ece", "nll", "brier", "auroc", "accuracy", "num_steps", "num_problems"):
        assert again[figure] == first[figure]


@pytest.mark.slow
def test_other_data_may_be_named(succeed: Command, checkpoint: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    row = {"problem": "1+1?", "steps": ["two", "three"], "confidences": [0.75, None]}
    other.write_text(json.dumps(row) + "\n", encoding="utf-8")
    result = tmp_path / "r"
    succeed("evaluate", "--checkpoint", checkpoint, "--own_test", other, "--output_dir", result, "--save_predictions")
    assert [row["label"] for row in read_lines(result / "predictions.jsonl.gz")] == [0.75, None]
    report = report_at(result)
    assert (report["overall"]["num_steps"], report["num_steps_without_label"]) == (1, 1)


@pytest.mark.slow
def test_the_script_at_the_root_is_the_command(checkpoint: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["evaluate.py", "--checkpoint", str(checkpoint), "--output_dir", str(tmp_path / "s")]
    )
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "evaluate.py"), run_name="__main__")
    assert ended.value.code == 0
    assert report_at(tmp_path / "s")["split"] == "test"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name one of --checkpoint FOLDER, --predictions FILE, --scorer FORM:PATH"),
        (["--checkpoint", "a", "--predictions", "b"], "--checkpoint and --predictions exclude each other"),
    ],
)
def test_one_thing_is_evaluated_at_a_time(fail: Command, arguments: list[str], words: str) -> None:
    assert words in fail("evaluate", *arguments)


def test_a_missing_checkpoint_names_those_that_are_there(fail: Command, checkpoint: Path) -> None:
    err = fail("evaluate", "--checkpoint", checkpoint.with_name("checkpoint_step_99"))
    assert "checkpoint_step_99" in err
    assert "checkpoint_step_2" in err


@pytest.mark.slow
def test_a_checkpoint_evaluates_without_its_training_state(succeed: Command, checkpoint: Path) -> None:
    shutil.rmtree(checkpoint / "training_state")
    succeed("evaluate", "--checkpoint", checkpoint)


@pytest.mark.slow
def test_a_dataset_without_a_label_is_said_and_the_rest_measured(tmp_path: Path, succeed: Command) -> None:
    rows = [{"dataset": "a", "problem_id": str(n), "confidence": 0.3, "label": n % 2} for n in range(6)]
    rows += [{"dataset": "b", "problem_id": str(n), "confidence": 0.5, "label": None} for n in range(4)]
    path = tmp_path / "theirs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    shown = succeed("evaluate", "--predictions", path, "--report", "false")
    assert "b: 4 steps without a label, in no figure" in shown
    report = json.loads((tmp_path / "eval_theirs" / "eval_metrics.json").read_text(encoding="utf-8"))
    assert report["steps_without_label"] == {"b": 4}
    assert report["per_dataset"]["a"]["num_steps"] == report["overall"]["num_steps"] == 6
    empty = report["per_dataset"]["b"]
    assert empty["num_steps"] == 0
    assert empty["mse"] is None
    assert empty["undefined"]["mse"]

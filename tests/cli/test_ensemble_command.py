"""Several checkpoints behind `evaluate`, `benchmark`, `calibrate` and `score`: the mean of their confidences."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hostile import sealed
from runs import read_lines
from small_checkpoints import write_members
from surestep.cli.main import main
from surestep.config import Config

Command = Callable[..., str]


@pytest.fixture
def members(build_small: Callable[..., Any], run_config: Callable[..., Config], tmp_path: Path) -> list[Path]:
    """Two checkpoints of one run."""
    return write_members(tmp_path / "outputs" / "run", build_small, run_config(experiment_name="run"), 2)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert main(list(map(str, arguments))) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("surestep: ")]
    assert len(lines) == 1
    return lines[0]


def confidences(folder: Path) -> dict[tuple[str, int], float]:
    rows = read_lines(folder / "predictions.jsonl.gz")
    return {(row["problem"], row.get("step_index", number)): row["confidence"] for number, row in enumerate(rows)}


@pytest.mark.slow
def test_the_road_from_evaluating_over_a_map_to_scoring(
    members: list[Path], succeed: Command, capsys: pytest.CaptureFixture[str], run_files: Path, tmp_path: Path
) -> None:
    plain = ("--baselines", "false", "--report", "false", "--device", "cpu")
    for number, named in enumerate(([members[0]], [members[1]], members)):
        succeed("evaluate", *named, *plain, "--output_dir", tmp_path / f"of_{number}")
    one, other, both = (confidences(tmp_path / f"of_{number}") for number in range(3))
    assert both.keys() == one.keys()
    assert both == pytest.approx({key: (value + other[key]) / 2 for key, value in one.items()}, rel=1e-12)
    report = json.loads((tmp_path / "of_2" / "eval_metrics.json").read_text())
    assert report["scorer"]["form"] == "ensemble"
    assert [row["step"] for row in report["scorer"]["members"]] == [1, 2]
    assert "checkpoint" not in report
    assert report["cost"]["tokens_read"] > 0
    # Into a folder of its own, by default; in the other order it is the same scorer.
    out = succeed("evaluate", "--checkpoint", *reversed(members), *plain)
    assert "ensemble: the mean of 2 checkpoints" in out
    (folder,) = (tmp_path / "outputs").glob("eval_ensemble_run_x_2_*")
    assert confidences(folder) == both

    file = tmp_path / "map.json"
    out = succeed("calibrate", *members, "--output", file, "--method", "platt", "--device", "cpu")
    assert f"stored: {file}" in out
    assert not any((member / "calibration.json").exists() for member in members)
    mapped = (*reversed(members), "--calibration_file", file)
    succeed("evaluate", *mapped, *plain, "--output_dir", tmp_path / "mapped")
    assert json.loads((tmp_path / "mapped" / "eval_metrics.json").read_text())["calibration"]["applied"] == "pooled"
    others = (members[0], Path(shutil.copytree(members[1], tmp_path / "outputs" / "run" / "checkpoint_step_9")))
    sealed(others[1], lambda values: values.update(step=9))
    said = refusal(capsys, "evaluate", *others, *plain, "--calibration_file", file)
    assert "was fitted to the ensemble run x 2" in said

    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"problem": "1: what is 1 + 1?", "steps": ["add 1 and 1", "so 2"]}) + "\n")
    # The file behind a flag of several values is the file all the same.
    succeed("score", "--device", "cpu", "--checkpoint", *members, rows)
    (scored,) = read_lines(tmp_path / "rows.scored.jsonl")
    assert scored["confidences"] == scored["raw"]
    assert len(scored["spread"]) == 2
    assert all(0.0 <= value <= 0.5 for value in scored["spread"])
    succeed("score", rows, *mapped, "--device", "cpu", "--output", tmp_path / "mapped.jsonl")
    (again,) = read_lines(tmp_path / "mapped.jsonl")
    assert again["raw"] == scored["raw"]

    data = tmp_path / "solutions.jsonl"
    solution = {"id": "a", "problem": "1 + 1?", "steps": ["one and one", "is 3"], "label": 1}
    data.write_text(json.dumps(solution) + "\n" + json.dumps({**solution, "id": "b", "label": -1}) + "\n")
    succeed("benchmark", "first-error", *members, "--data", data, "--resamples", "20", "--device", "cpu")
    report = json.loads((folder / "first_error.json").read_text())
    assert report["scorer"]["form"] == "ensemble"


def test_what_an_ensemble_cannot_do_is_said_in_one_line(
    members: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for command in ("serve", "certify", "check", "watch", "export"):
        more = {"export": ("--output_dir", tmp_path / "out"), "watch": ("--data", tmp_path / "new.jsonl")}
        said = refusal(capsys, command, *members, *more.get(command, ()))
        assert f"surestep {command} takes one checkpoint, and 2 are named" in said
    assert "several are named" in refusal(capsys, "calibrate", *members, "--remove")
    assert "needs --calibration_file" in refusal(capsys, "evaluate", *members, "--calibration", "pooled")
    assert "is named twice" in refusal(capsys, "evaluate", members[0], members[0])
    assert "--predictions exclude" in refusal(capsys, "evaluate", *members, "--predictions", tmp_path / "file")
    assert "required: FILE" in refusal(capsys, "score", "--checkpoint", members[0])


@pytest.mark.slow
def test_problems_that_a_member_was_trained_on_validate_no_ensemble(
    build_small: Callable[..., Any],
    run_config: Callable[..., Config],
    succeed: Command,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Held out of training data by a seed: by one of its own, or by one for all members."""

    def member(seed: int, validation_seed: int | None) -> Path:
        name = f"seed_{seed}_{validation_seed}"
        config = run_config(experiment_name=name, own_validation=None, seed=seed, validation_seed=validation_seed)
        return write_members(tmp_path / name, build_small, config, 1 + seed)[-1]

    mine, theirs = member(0, None), member(1, None)
    flags = ("--baselines", "false", "--report", "false", "--device", "cpu", "--output_dir", tmp_path / "results")
    said = refusal(capsys, "evaluate", mine, theirs, "--split", "validation", *flags)
    assert "(seeds 0 and 1), which was trained on some of them" in said
    assert "which was trained on some of them" in refusal(capsys, "calibrate", mine, theirs)
    succeed("evaluate", member(0, 7), member(1, 7), "--split", "validation", *flags)
    succeed("evaluate", mine, theirs, *flags)

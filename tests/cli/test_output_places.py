"""No command writes into a checkpoint, which could not be loaded any more, or an evaluation into a run's folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from surestep.bench.machine import _room
from surestep.errors import CheckpointError
from surestep.scoring.checkpoint.find import find_checkpoint

Fail = Callable[..., str]
COMMANDS = {
    "evaluate": ("evaluate", "--predictions", "p.jsonl", "--output_dir"),
    "train": ("train", "--output_dir"),
    "demo": ("demo", "--output_dir"),
    "benchmark": ("benchmark", "processbench", "--data", "d.jsonl", "--predictions", "p.jsonl", "--output_dir"),
    "score": ("score", "rows.jsonl", "run/checkpoint_step_2", "--output"),
    "rerank": ("rerank", "rows.jsonl", "run/checkpoint_step_2", "--output"),
    "bad rows": ("score", "rows.jsonl", "run/checkpoint_step_2", "--bad_rows_file"),
    "generate": ("generate", "rows.jsonl", "--endpoint", "http://127.0.0.1:9", "--output"),
    "certify": ("certify", "run/checkpoint_step_2", "--data", "d.jsonl", "--out"),
    "watch": ("watch", "run/checkpoint_step_2", "--data", "d.jsonl", "--state"),
    "calibrate": ("calibrate", "--scorer", "other", "--output"),
    "export": ("export", "run/checkpoint_step_2", "--output_dir"),
    "average": ("average", "run/checkpoint_step_2", "--output"),
}


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = Path("run/checkpoint_step_2")
    folder.mkdir(parents=True)
    for name in ("manifest.json", "config.json"):
        (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize(
    "below", ["", "new", "new/deep/rows.jsonl", "tokenizer/../x", "../checkpoint_step_2/x", "link"]
)
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_written_into_a_checkpoint(fail: Fail, checkpoint: Path, command: str, below: str) -> None:
    place = checkpoint / below
    if below == "link":
        place = Path("link")
        place.symlink_to(checkpoint, target_is_directory=True)
    before = sorted(path for path in Path().rglob("*"))
    message = fail(*COMMANDS[command], place)
    makes_a_folder = command in {"export", "average"} and place.resolve() == checkpoint.resolve()
    if not makes_a_folder:  # which it refuses because it is there
        assert f"{place} lies in the checkpoint {checkpoint.resolve()}" in message
        assert f"surestep: {COMMANDS[command][-1]} " in message
    assert sorted(path for path in Path().rglob("*")) == before


def test_an_evaluation_is_no_result_of_the_run_beside_it(fail: Fail, checkpoint: Path) -> None:
    (Path("p.jsonl")).write_text('{"confidence": 0.5, "label": 1}\n')
    message = fail("evaluate", "--predictions", "p.jsonl", "--output_dir", checkpoint.parent)
    assert "run is the folder of a run" in message
    assert os.listdir(checkpoint.parent) == [checkpoint.name]


def test_results_named_like_checkpoints_are_no_run(succeed: Callable[..., str], checkpoint: Path) -> None:
    """Evaluations of checkpoints lie in folders called after them."""
    Path("eval_run/checkpoint_step_2").mkdir(parents=True)
    Path("p.jsonl").write_text('{"confidence": 0.5, "label": 1}\n')
    succeed("evaluate", "--predictions", "p.jsonl", "--output_dir", "eval_run", "--bootstrap_resamples", "10")
    with pytest.raises(CheckpointError, match="it holds the runs run: name one of them"):
        find_checkpoint(Path())


def test_a_name_with_a_nul_is_one_line(fail: Fail, checkpoint: Path) -> None:
    """No program can be given one by the system, but a file of settings may hold it."""
    Path("settings.json").write_text(json.dumps({"output_dir": "a\0b"}))
    fail("train", "--config", "settings.json", "--backbone", "builtin:tiny")


def test_a_number_beyond_any_is_called_so(fail: Fail, checkpoint: Path) -> None:
    message = fail("train", "--max_steps", "1e99")
    assert "training.max_steps is 1e+99; allowed: a whole number" in message


def test_beside_a_checkpoint_there_is_room(succeed: Callable[..., str], checkpoint: Path) -> None:
    (Path("p.jsonl")).write_text('{"confidence": 0.5, "label": 1}\n')
    succeed(
        "evaluate",
        "--predictions",
        "p.jsonl",
        "--output_dir",
        checkpoint.parent / "test",
        "--bootstrap_resamples",
        "10",
    )
    assert (checkpoint.parent / "test" / "eval_metrics.json").is_file()


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_in_place_of_the_folder_for_runs_is_found_by_doctor(checkpoint: Path, place: str) -> None:
    Path("file").write_text("")
    runs = next(iter(_room(Path(place))))
    assert runs.status == "broken"
    assert runs.value.endswith("file is a file, where a folder is needed")

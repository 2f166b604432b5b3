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
from surestep.training.events.final_report import _replaced

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


def predictions(path: str, count: int = 1) -> str:
    Path(path).write_text('{"confidence": 0.5, "label": 1}\n' * count)
    return path


def evaluation(path: str, folder: str) -> tuple[str, ...]:
    return (
        "evaluate",
        "--predictions",
        path,
        "--output_dir",
        folder,
        "--bootstrap_resamples",
        "0",
        "--report",
        "false",
    )


def of_training(folder: str) -> Path:
    """The validation result of a run, as far as commands look at it."""
    path = Path(folder) / "eval_metrics.json"
    path.parent.mkdir(parents=True)
    about = {"split": "validation", "checkpoint": "run/checkpoint_step_2", "what": "the best checkpoint"}
    path.write_text(json.dumps(about | {"overall": {}, "per_dataset": {}}))
    return path


@pytest.mark.parametrize("place", ["eval_run", "./eval_run/", "link", "by default"])
def test_the_validation_result_of_a_run_is_not_replaced(fail: Fail, checkpoint: Path, place: str) -> None:
    stands = of_training("eval_run")
    before = stands.read_bytes()
    Path("link").symlink_to("eval_run")
    named = ("evaluate", "--predictions", predictions("run.jsonl")) if place == "by default" else ()
    message = fail(*(named or evaluation(predictions("p.jsonl"), place)))
    assert "holds the validation result that training left of run/checkpoint_step_2" in message
    assert "name a folder of its own" in message
    assert stands.read_bytes() == before
    assert [path.name for path in stands.parent.iterdir()] == [stands.name]


def test_what_an_evaluation_replaces_is_said(succeed: Callable[..., str], checkpoint: Path) -> None:
    first, other = predictions("p.jsonl"), predictions("q.jsonl", 2)
    assert "replaces" not in succeed(*evaluation(first, "results"))
    assert "replaces" not in succeed(*evaluation(str(Path(first).resolve()), "results")), "the same again"
    assert "· replaces results/eval_metrics.json, the result of 'p.jsonl' (as given split" not in succeed(
        *evaluation(first, "others")
    )
    said = succeed(*evaluation(other, "results"))
    assert (
        f"· replaces results/eval_metrics.json, the result of '{Path(first).resolve()}' (as given split, made " in said
    )
    Path("results/eval_metrics.json").write_text("{cut")
    assert "· replaces results/eval_metrics.json, which cannot be read\n" in succeed(*evaluation(other, "results"))


@pytest.mark.parametrize("content", ["[]", "{}", '{"f1": 0.5}'])
def test_figures_that_no_evaluation_wrote_are_not_replaced(fail: Fail, checkpoint: Path, content: str) -> None:
    Path("results").mkdir()
    (stands := Path("results/eval_metrics.json")).write_text(content)
    for place, command in (
        ("results", evaluation(predictions("p.jsonl"), "results")),
        ("eval_new", ("train", "--backbone", "builtin:tiny", "--experiment_name", "new", "--output_dir", ".")),
    ):
        Path("eval_new").unlink(missing_ok=True)
        Path("eval_new").symlink_to("results")
        message = fail(*command)
        assert f"{place}/eval_metrics.json is no result of an evaluation, and would be replaced" in message
        assert stands.read_text() == content


BENCHMARKS = {"processbench": "processbench", "first-error": "first_error"}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_what_a_benchmark_replaces_is_said_or_refused(
    succeed: Callable[..., str], fail: Fail, checkpoint: Path, name: str
) -> None:
    file = f"{BENCHMARKS[name]}.json"
    solution = {"id": "a", "problem": "1?", "steps": ["s"], "label": -1}
    Path("d.jsonl").write_text(json.dumps(solution) + "\n")
    for path in ("p.jsonl", "q.jsonl"):
        Path(path).write_text('{"id": "a", "confidences": [0.75]}\n')

    def asked(data: str, found: str, folder: str | Path) -> tuple[object, ...]:
        return ("benchmark", name, "--data", data, "--predictions", found, "--output_dir", folder, "--resamples", 1)

    assert "replaces" not in succeed(*asked("d.jsonl", "p.jsonl", "r"))
    assert "replaces" not in succeed(*asked("d.jsonl", "p.jsonl", "r"))
    assert f"· replaces r/{file}, the result of 'p.jsonl' (made 20" in succeed(*asked("d.jsonl", "q.jsonl", "r"))
    assert "is the folder of a run" in fail(*asked("d.jsonl", "p.jsonl", checkpoint.parent))
    assert os.listdir(checkpoint.parent) == [checkpoint.name]
    Path(file).write_text(json.dumps([solution]))
    assert f"{file} is read, and would be replaced" in fail(*asked(file, "p.jsonl", "."))
    assert f"{file} is no result of `surestep benchmark`" in fail(*asked("d.jsonl", "p.jsonl", "."))
    assert json.loads(Path(file).read_text()) == [solution]
    saved = f"r/{BENCHMARKS[name]}_predictions.jsonl"
    assert f"{saved} is read, and would be replaced" in fail(*asked("d.jsonl", saved, "r"))


@pytest.mark.parametrize(
    ("command", "flag", "what"),
    [
        (("calibrate", "--scorer", "other"), "--output", "calibration"),
        (("certify", "run/checkpoint_step_2", "--data", "d.jsonl"), "--out", "certificate"),
        (("certify", "run/checkpoint_step_2", "--data", "d.jsonl"), "--curve", "cost curve"),
    ],
)
@pytest.mark.parametrize("content", ["", '{"problem": "1?"}\n{"problem": "2?"}\n', "{}", "[1]", "text"])
def test_a_file_of_another_kind_is_not_replaced(
    fail: Fail, checkpoint: Path, command: tuple[str, ...], flag: str, what: str, content: str
) -> None:
    Path("d.jsonl").write_text(content)
    message = fail(*command, flag, "./d.jsonl")
    assert f"{flag} d.jsonl would replace d.jsonl, which is no {what} that this command wrote" in message
    assert Path("d.jsonl").read_text() == content


def test_the_picture_of_a_curve_replaces_no_other(fail: Fail, checkpoint: Path) -> None:
    Path("cost.png").write_bytes(b"mine")
    command = ("certify", "run/checkpoint_step_2", "--data", "d.jsonl", "--curve")
    assert "would replace cost.png" in fail(*command, "cost.json")
    assert "--curve cost.png is the picture's name" in fail(*command, "cost.png")
    assert Path("cost.png").read_bytes() == b"mine"


def test_the_demo_replaces_no_run_of_another_backbone(fail: Fail, checkpoint: Path) -> None:
    Path("demo").mkdir()
    Path("demo/config.json").write_text('{"model": {"backbone": "models/Qwen3-4B"}}')
    message = fail("demo", "--output_dir", ".")
    assert "demo is a run of the backbone 'models/Qwen3-4B', which the demo would replace" in message
    assert os.listdir("demo") == ["config.json"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, None),
        ('{"overall": {}, "per_dataset": {}, "split": "validation", "what": "the best checkpoint"}', None),
        (
            '{"overall": {}, "per_dataset": {}, "split": "test", "checkpoint": "a"}',
            "replaces {}, the result of 'a' (test split)",
        ),
        ('{"overall": {}, "per_dataset": {}, "scorer": {"spec": "x:y"}}', "the result of 'x:y' (unknown split)"),
        ("{cut", "replaces {}, which cannot be read"),
        ("{}", "replaces {}, which is no result of an evaluation"),
    ],
)
def test_training_says_what_its_validation_result_replaces(
    tmp_path: Path, content: str | None, line: str | None
) -> None:
    path = tmp_path / "eval_metrics.json"
    if content is not None:
        path.write_text(content)
    said = _replaced(tmp_path)
    assert said is None if line is None else line.format(path) in str(said)


@pytest.mark.parametrize("below", ["", "/new", "/new/deep"])
def test_a_file_in_place_of_the_folder_is_said_before_anything_is_scored(
    fail: Fail, checkpoint: Path, below: str
) -> None:
    found = predictions("p.jsonl")
    Path("file").write_text("mine")
    benchmark = ("benchmark", "processbench", "--data", "p.jsonl", "--predictions", "p.jsonl", "--output_dir")
    Path("p.jsonl").write_text('{"id": "a", "confidence": 0.5, "label": 1}\n')
    for command in (evaluation(found, f"file{below}"), (*benchmark, f"file{below}")):
        assert f"--output_dir file{below}: file is a file, where a folder is needed" in fail(*command)
    assert Path("file").read_text() == "mine"

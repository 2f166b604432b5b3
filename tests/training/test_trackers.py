"""Experiment trackers: what is told to each, in which run of theirs, and that none of them can end a run of ours."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from accelerate import PartialState

from fake_trackers import fake_trackers
from runs import Watcher, read_lines
from surestep.config import Config
from surestep.config.trackers import TRACKER_NAMES
from surestep.errors import CheckpointError, ConfigError
from surestep.training.events.records import StepRecord, ValidationRecord
from surestep.training.events.trackers import TRACKERS, Trackers, trackers_to_use
from surestep.training.run import train

FAKES = ("wandb", "mlflow", "aim")
SETTINGS = {"experiment_name": "tried", "training": {"max_steps": 9, "token_budget": None, "betas": [1, 2]}}


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    PartialState(cpu=True)
    with fake_trackers(monkeypatch, tmp_path / "site") as found:
        yield found


def record(step: int, loss: float = 0.5) -> StepRecord:
    return StepRecord(step, loss, 1e-3, 0.1, 10.0, 5.0, 1.0, {"own": 3}, None, {"backbone": 1e-3, "head": 2e-3})


def opened(folder: Path, names: Any, lines: list[str], *, resumed_step: int = 0) -> Trackers:
    return Trackers(
        names,
        folder,
        "tried",
        settings=SETTINGS,
        paths={"page": folder / "report.html"},
        resumed_step=resumed_step,
        say=lines.append,
    )


def values_of(run: Any, name: str) -> list[tuple[int, float]]:
    return [(step, values[name]) for step, values in run.logged if name in values]


@pytest.mark.slow
def test_a_run_is_told_to_every_tracker_and_goes_on_in_the_same_run_of_theirs(
    packages: dict[str, Any], run_config: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"max_steps": 4, "eval_steps": 2, "save_steps": 2, "report_to": list(FAKES)}
    config = run_config(experiment_name="tried", **settings)
    train(config, Watcher({3: lambda: os.kill(os.getpid(), signal.SIGTERM)}))
    known = json.loads((config.experiment_dir / "trackers.json").read_text())
    assert known == dict.fromkeys(FAKES, "run-0")
    watcher = Watcher()
    done = train(config, watcher, resume=True)
    assert [line for line in watcher.of("say") if "tracked by" in line] == [
        f"tracked by {name}: run run-0" for name in FAKES
    ]
    lines = read_lines(config.experiment_dir / "metrics.jsonl")
    losses = [(line["step"], line["loss"]) for line in lines if line["kind"] == "step"]
    nll = [(line["step"], line["mean"]["nll"]) for line in lines if line["kind"] == "validation"]
    for name, package in packages.items():
        first, second = package.runs
        assert (second.known_as, second.resumed, first.is_finished, second.is_finished) == ("run-0", True, True, True)
        assert (first.name, first.kwargs["project"]) == ("tried", "surestep")
        logged = values_of(first, "train/loss") + values_of(second, "train/loss")
        assert logged == losses
        assert values_of(first, "validation/nll/mean") + values_of(second, "validation/nll/mean") == nll
        assert values_of(second, "train/grad_norm")[0][0] == 4
        assert values_of(second, "train/learning_rate/head")
        assert values_of(second, "final/nll/own") == [(4, done.validation["per_dataset"]["own"]["nll"])]
        assert values_of(second, "final/skill/all") == [(4, done.validation["overall"]["skill"]["mse"])]
        assert values_of(second, "final/best_step") == [(4, done.result.best_record["step"])]
        told = {key: value for part in first.settings for key, value in part.items()}  # MLflow takes 100 at once
        assert told["training.max_steps"] == 4
        assert told["paths.page"] == str((config.validation_dir / "report.html").absolute())
        assert len(second.settings) == int(name != "mlflow"), "MLflow keeps a setting's first value"
    assert "what a tracker prints" not in capsys.readouterr().out


@pytest.mark.parametrize("place", ["start", "settings", "log", "finish"])
@pytest.mark.parametrize("name", FAKES)
def test_a_tracker_that_fails_is_said_once_and_the_others_get_everything(
    packages: dict[str, Any], tmp_path: Path, name: str, place: str
) -> None:
    packages[name].broken.add(place)
    packages[name].from_step = 2 if place == "log" else 0
    lines: list[str] = []
    with opened(tmp_path, list(FAKES), lines) as trackers:
        for step in range(1, 5):
            trackers.logged(record(step))
        trackers.validated(ValidationRecord(4, "nll", 0.1, {"nll": 0.1, "r2": None}, {"own": {"nll": 0.1}}, True))
    assert [line for line in lines if "failed" in line] == [
        f"{name} failed and gets no more of this run (ConnectionError: no route to host); "
        "metrics.jsonl holds everything"
    ]
    for other in set(FAKES) - {name}:
        (run,) = packages[other].runs
        assert [step for step, _ in values_of(run, "train/loss")] == [1, 2, 3, 4]
        assert values_of(run, "validation/nll/own") == [(4, 0.1)]
        assert not values_of(run, "validation/r2/mean"), "what has no value is not told"
        assert run.is_finished
    if place == "log":
        assert values_of(packages[name].runs[0], "train/loss") == [(1, 0.5)]
        assert packages[name].runs[0].is_finished, "what it holds open is let go"


@pytest.mark.slow
def test_a_failing_tracker_does_not_change_or_end_a_run(
    packages: dict[str, Any], run_config: Callable[..., Config]
) -> None:
    packages["wandb"].broken |= {"log", "finish"}
    watcher = Watcher()
    done = train(run_config(max_steps=2, report_to=["wandb"]), watcher)
    assert done.result.steps == 2
    assert len([line for line in watcher.of("say") if "wandb failed" in line]) == 1


def test_a_program_told_to_quit_at_once_does_not_wait_for_a_tracker(packages: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), opened(tmp_path, ["wandb"], []):
        raise KeyboardInterrupt
    assert not packages["wandb"].runs[0].is_finished
    with pytest.raises(ValueError, match="diverged"), opened(tmp_path, ["wandb"], []):
        raise ValueError("diverged")
    assert packages["wandb"].runs[1].is_finished


def test_a_tracker_that_watches_what_is_printed_lets_go_of_it(packages: dict[str, Any], tmp_path: Path) -> None:
    before = sys.stdout.write
    with opened(tmp_path, ["aim"], []) as trackers:
        assert sys.stdout.write != before
        trackers.logged(record(1))
    assert sys.stdout.write == before


def test_a_tracker_added_at_a_resume_begins_there_and_says_so(packages: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "trackers.json").write_text('{"mlflow": "abc"}')
    lines: list[str] = []
    with opened(tmp_path, ["wandb"], lines, resumed_step=5):
        pass
    assert lines == ["tracked by wandb: run run-0, which begins after step 5"]
    assert packages["wandb"].runs[0].settings
    assert json.loads((tmp_path / "trackers.json").read_text()) == {"mlflow": "abc", "wandb": "run-0"}


def test_a_new_run_takes_no_other_runs_name(packages: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "trackers.json").write_text('{"wandb": "abc"}')
    with opened(tmp_path, ["wandb"], []):
        assert not packages["wandb"].runs[0].resumed


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"wandb": 3}', '{"wandb": "a b"}', '{"other": "a"}', '{"aim": "../x"}']
)
def test_a_damaged_list_of_their_runs_is_one_line(packages: dict[str, Any], tmp_path: Path, text: str) -> None:
    (tmp_path / "trackers.json").write_text(text)
    with pytest.raises(
        CheckpointError, match=r"trackers\.json cannot be read .*move it away and resume again"
    ) as caught:
        opened(tmp_path, ["wandb"], [], resumed_step=5)
    assert "\n" not in str(caught.value)


def test_projects_have_the_names_that_their_own_variables_give(
    packages: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "ours")
    with opened(tmp_path, ["wandb", "mlflow"], []):
        assert [packages[name].runs[0].kwargs["project"] for name in ("wandb", "mlflow")] == ["mine", "ours"]


@pytest.mark.parametrize("name", TRACKER_NAMES)
def test_one_that_is_not_installed_is_refused_before_anything_with_its_command(
    name: Any, run_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("surestep.training.events.trackers.find_spec", lambda _name: None)
    config = run_config(report_to=[name])
    config.training.tensorboard = True
    with pytest.raises(ConfigError) as caught:
        train(config, Watcher())
    assert f"names {name}, which is not installed: {TRACKERS[name].install}" in str(caught.value)
    assert not config.output_dir.exists()


def test_a_folder_of_a_trackers_name_is_no_tracker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """W&B and MLflow leave such folders where they run."""
    (tmp_path / "aim").mkdir()
    (tmp_path / "aim" / "latest.log").write_text("")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "aim", raising=False)
    importlib.invalidate_caches()
    assert not TRACKERS["aim"].is_installed


def test_words_for_several_take_what_is_there(packages: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(trackers_to_use("all", tensorboard=False)[0]) == set(FAKES)
    assert trackers_to_use([], tensorboard=True) == ([], [])
    monkeypatch.setattr("surestep.training.events.trackers.find_spec", lambda _name: None)
    assert trackers_to_use("all", tensorboard=True)[1] == [
        "no tracker is installed (looked for tensorboard, wandb, mlflow, aim): figures go to metrics.jsonl alone"
    ]
    assert trackers_to_use("auto", tensorboard=False) == ([], [])
    ((line,), names) = reversed(trackers_to_use("auto", tensorboard=True))
    assert (names, line) == (
        [],
        "TensorBoard logs are off: install it with `pip install 'surestep[tensorboard]'`",
    )


def test_tensorboard_hides_what_lies_beyond_the_resumed_step_and_has_the_settings(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    PartialState(cpu=True)
    with opened(tmp_path, ["tensorboard"], []) as trackers:
        for step in range(1, 6):
            trackers.logged(record(step))
    assert [path.name for path in (tmp_path / "tensorboard").rglob("hparams.yml")] == ["hparams.yml"]
    with opened(tmp_path, ["tensorboard"], [], resumed_step=3) as trackers:
        trackers.logged(record(4, loss=0.25))
    assert len(list((tmp_path / "tensorboard").rglob("hparams.yml"))) == 1, "the settings are told once"
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [
        (1, 0.5), (2, 0.5), (3, 0.5), (4, 0.25),
    ]  # fmt: skip


def _real(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed: {TRACKERS[name].install}")  # type: ignore[index]


@pytest.mark.slow
def test_mlflows_own_store_holds_a_resumed_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _real("mlflow")
    import mlflow

    PartialState(cpu=True)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/ml.db")
    lines: list[str] = []
    with opened(tmp_path, ["mlflow"], lines) as trackers:
        trackers.logged(record(1))
    with opened(tmp_path, ["mlflow"], lines, resumed_step=1) as trackers:
        trackers.logged(record(2))
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.5)]
    assert (run.info.run_name, run.info.status, run.data.params["training.max_steps"]) == ("tried", "FINISHED", "9")
    assert lines == [f"tracked by mlflow: run {run.info.run_id}"] * 2


@pytest.mark.slow
def test_an_offline_run_of_wandb_keeps_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _real("wandb")
    PartialState(cpu=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    lines: list[str] = []
    for step in (1, 2):
        with opened(tmp_path, ["wandb"], lines, resumed_step=step - 1) as trackers:
            trackers.logged(record(step))
    known = json.loads((tmp_path / "trackers.json").read_text())["wandb"]
    assert lines == [f"tracked by wandb: run {known}"] * 2
    kept = list((tmp_path / "wandb").glob(f"offline-run-*-{known}/run-{known}.wandb"))
    assert len(kept) == 2
    assert b"train/learning_rate/head" in kept[0].read_bytes()

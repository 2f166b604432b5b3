"""One run as a process: what its log and its end come to. A short script stands for the command that trains."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

import pytest

from surestep.config import Config
from surestep.lock import locked
from surestep.sweep import training_process
from surestep.sweep.stop import StopRequest
from surestep.sweep.training_process import RunEnd, TrainingProcess

SCRIPT = """
import json, pathlib, signal, sys, time
mode, arguments = sys.argv[1], sys.argv[2:]
values = json.loads(pathlib.Path(arguments[1]).read_text())
folder = pathlib.Path(values["output_dir"], values["experiment_name"])
evaluation = pathlib.Path(values["output_dir"], "eval_" + values["experiment_name"])
folder.mkdir(parents=True, exist_ok=True), evaluation.mkdir(exist_ok=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print("arguments:", *arguments[2:], flush=True)
with (folder / "metrics.jsonl").open("w") as log:
    for step in (1, 2):
        line = {"kind": "validation", "step": step, "metric": "nll", "value": 1 / step}
        print(json.dumps(line), file=log, flush=True)
    print('{"kind": "validation", "st', end="", file=log, flush=True)
if mode == "waits":
    time.sleep(60)
if mode == "fails":
    sys.exit("a first line\\nsurestep: training diverged: lower --learning_rate\\n")
if mode == "is killed":
    import os; os.kill(os.getpid(), signal.SIGKILL)
metric = "nll" if mode == "ends" else "auroc"
(folder / "best_checkpoint.json").write_text(json.dumps({"metric": metric, "value": 0.5, "step": 2}))
report = {"overall": {"nll": 0.6, "intervals": {"nll": {"low": 0.4, "high": 0.8}}}}
(evaluation / "eval_metrics.json").write_text(json.dumps(report))
"""


class Run:
    """One run in `folder`, with what it told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = Config()
        self.config.output_dir, self.config.experiment_name = folder / "runs", "trial_0001_seed_42"
        self.stop, self.seen, self.said = StopRequest(), list[tuple[int, float]](), list[str]()

    def __call__(self, mode: str, *, prune: bool = False, stop: bool = False) -> RunEnd:
        def validated(step: int, value: float) -> bool:
            self.seen.append((step, value))
            if stop and step == 2:
                self.stop.ask()
            return prune and step == 2

        process = TrainingProcess([sys.executable, "-c", SCRIPT, mode], self.folder, {}, self.said.append)
        return process(self.config, validated=validated, stop=self.stop)

    @property
    def log(self) -> str:
        return (self.folder / "logs" / "trial_0001_seed_42.log").read_text()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(training_process, "POLL_S", 0.05)
    return Run(tmp_path)


def test_a_run_that_ends_gives_its_best_checkpoint_s_figure(run: Run) -> None:
    end = run("ends")
    assert end == RunEnd("finished", {"value": 0.5, "step": 2, "held_out": {"value": 0.6, "low": 0.4, "high": 0.8}})
    assert run.seen == [(1, 1.0), (2, 0.5)]
    started_with = run.folder / "configs" / "trial_0001_seed_42.json"
    assert json.loads(started_with.read_text()) == run.config.to_dict()
    assert run.log == "arguments:\n", "a fresh folder: neither resumed nor replaced"


def test_a_run_that_was_begun_is_resumed_or_begun_again(run: Run) -> None:
    run.config.experiment_dir.mkdir(parents=True)
    run("ends")
    (run.config.experiment_dir / "checkpoint_step_2").mkdir()
    run("ends")
    assert run.log == "arguments: --overwrite\narguments: --resume\n"


def test_a_run_that_does_badly_is_told_to_end(run: Run) -> None:
    assert run("waits", prune=True) == RunEnd("pruned")


def test_a_sweep_that_stops_tells_its_runs(run: Run) -> None:
    assert run("waits", stop=True) == RunEnd("stopped")


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("fails", "training diverged: lower --learning_rate (exit code 1; "),
        ("is killed", "killed by SIGKILL (the machine's memory ran out, perhaps); "),
        ("has one class", "nll has no value on its validation problems"),
    ],
)
def test_a_run_that_fails_says_why(run: Run, mode: str, reason: str) -> None:
    end = run(mode)
    assert end.how == "failed"
    assert end.reason is not None
    assert end.reason.startswith(reason)


def test_a_run_that_a_killed_worker_left_behind_is_waited_for(run: Run) -> None:
    with locked(run.config.experiment_dir, command="surestep train"):
        ends: list[RunEnd] = []
        waiting = threading.Thread(target=lambda: ends.append(run("ends")))
        waiting.start()
        waiting.join(0.2)
        assert ends == []
    waiting.join(30)
    assert [end.how for end in ends] == ["finished"]
    assert len(run.said) == 1
    assert "is in use by surestep train" in run.said[0]

"""Weights that are shared out over two processes are trained as one process trains them whole."""

from __future__ import annotations

import json
import pickle
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from launched import launch_two
from runs import Watcher, assert_same_bits, logged, tensors
from surestep.config import Config
from surestep.scoring.checkpoint.find import list_checkpoints
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.training.run import train
from surestep.training.start.resume_point import find_resume_point
from two_processes import copy_up_to

TOGETHER = Path(__file__).parents[1] / "two_processes.py"
HAS_PROCESSES = torch.distributed.is_available()
STEPS = {"eval_steps": 2, "max_steps": 4, "learning_rate": 0.01, "save_steps": 2, "token_budget": 120}
"""Small packs: the processes have different numbers of passes in a step, and in a validation."""
FULL = {**STEPS, "lora": False, "layer_learning_rate_decay": 0.7}
LORA = {**STEPS, "ema_decay": 0.5, "gradient_checkpointing": True}


def run_together(
    python: Path, folder: Path, runs: Sequence[dict[str, Any]], *, timeout: float = 150
) -> subprocess.CompletedProcess[str]:
    """Train `runs` (see `two_processes`), each with a `Config` as its `config`, by two processes."""
    listed = []
    for number, run in enumerate(runs):
        place = folder / f"run-{number}.json"
        run["config"].save(place)
        listed.append(run | {"config": str(place)})
    (folder / "runs.json").write_text(json.dumps(listed, default=str))
    return launch_two(python, "python", [TOGETHER, folder / "runs.json"], timeout=timeout)


def assert_same_run(found: Config, expected: Config) -> None:
    """Losses, norms, labels, validations, reports and weights of two runs agree within float error."""
    mine, theirs = (logged(config.experiment_dir) for config in (found, expected))
    assert mine["labels"] == theirs["labels"]
    for ours, other in zip(mine["losses"], theirs["losses"], strict=True):
        assert ours == pytest.approx(other, rel=1e-4)
    for (step, value, figures, _), (other_step, other, others, _) in zip(
        mine["validations"], theirs["validations"], strict=True
    ):
        assert (step, value) == (other_step, pytest.approx(other, rel=1e-4))
        assert figures == pytest.approx(others, rel=1e-3, abs=1e-5)
    reports = [json.loads((c.validation_dir / "eval_metrics.json").read_text()) for c in (found, expected)]
    assert reports[0]["overall"]["num_steps"] == reports[1]["overall"]["num_steps"]
    assert reports[0]["overall"]["nll"] == pytest.approx(reports[1]["overall"]["nll"], rel=1e-4)
    same_weights(found, expected)


def same_weights(found: Config, expected: Config) -> None:
    """The last checkpoints of two runs, in the one form that checkpoints have, within float error."""
    folders = [list_checkpoints(config.experiment_dir)[-1][1] for config in (found, expected)]
    assert folders[0].name == folders[1].name
    mine, theirs = (
        {name: value for name, value in tensors(folder).items() if "training_state" not in name} for folder in folders
    )
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(mine[name], value, rtol=1e-3, atol=2e-4, msg=name)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_PROCESSES, reason="this torch has no torch.distributed")
def test_shards_are_trained_saved_and_resumed_as_whole_weights_are(
    run_config: Callable[..., Config], tmp_path: Path, quick_python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(name: str, settings: dict[str, Any], *, batch: int = 2, fsdp: bool = True) -> Config:
        return run_config(experiment_name=name, per_device_train_batch_size=batch, fsdp=fsdp, **settings)

    whole, whole_lora = made("whole", FULL, batch=4), made("whole-lora", LORA, batch=4)
    for config in (whole, whole_lora):
        watcher = Watcher()
        train(config, watcher)
        assert any("fsdp: nothing to share out" in line for line in watcher.of("say"))
    shards, lora, again, split = (
        made(name, settings) for name, settings in (("shards", FULL), ("lora", LORA), ("again", FULL), ("split", LORA))
    )
    free = {name: value for name, value in STEPS.items() if name != "token_budget"}
    calm, tight = made("calm", free, fsdp=False), made("tight", free, fsdp=False)
    runs: list[dict[str, Any]] = [
        {"config": shards},
        {"config": lora},
        {"config": again, "resume": shards.experiment_dir, "step": 2},  # 2 processes to 2
        {"config": split, "resume": whole_lora.experiment_dir, "step": 2},  # 1 to 2
        {"config": calm},
        {"config": tight, "breaks": 3},
    ]
    done = run_together(quick_python, tmp_path, runs)
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert any("each holds 1/2 of weights, gradients and moments" in line for line in said[0])
    assert_same_run(shards, whole)
    assert_same_run(lora, whole_lora)
    last = "checkpoint_step_4"
    assert_same_bits(again.experiment_dir / last, shards.experiment_dir / last)
    same_weights(split, whole_lora)

    # Memory that ran out on one process alone: both ran the step again, and nothing else changed.
    assert any("out of memory: continuing with" in line for line in said[5])
    assert not any("out of memory" in line for line in said[4])
    assert_same_bits(tight.experiment_dir / last, calm.experiment_dir / last)

    # Nothing is pickled; each process has written its shards, and any process reads both.
    for config in (shards, lora):
        state = config.experiment_dir / last / "training_state"
        assert sorted(path.name for path in state.rglob("*") if path.is_file()) == [
            "shard-00001-model-00001-of-00001.safetensors",
            "shard-00002-model-00001-of-00001.safetensors",
            "state.json",
        ]

    def refuse(*_arguments: Any, **_settings: Any) -> None:
        raise AssertionError("something was unpickled")

    alone = made("alone", LORA, batch=4)  # 2 processes to 1
    copy_up_to(lora.experiment_dir, alone.experiment_dir, 2)
    with monkeypatch.context() as patch:
        patch.setattr(pickle, "load", refuse)
        patch.setattr(torch, "load", refuse)
        train(alone, Watcher(), resume=True)
    same_weights(alone, whole_lora)

    scorer = load_checkpoint(shards.experiment_dir / last).built.model
    assert all(np.isfinite(weight.detach().numpy()).all() for weight in scorer.parameters())

    broken = next((shards.experiment_dir / last / "training_state").rglob("shard-00002*"))
    broken.unlink()
    point = find_resume_point(shards.experiment_dir)
    assert point.checkpoint.name == "checkpoint_step_2"
    assert "shard-00002" in point.said[0]


@pytest.mark.slow
@pytest.mark.skipif(not HAS_PROCESSES, reason="this torch has no torch.distributed")
def test_a_process_that_dies_ends_the_run_which_goes_on_from_its_last_checkpoint(
    run_config: Callable[..., Config], tmp_path: Path, quick_python: Path
) -> None:
    cut = run_config(experiment_name="cut", per_device_train_batch_size=2, fsdp=True, **FULL)
    start = time.monotonic()
    done = run_together(quick_python, tmp_path, [{"config": cut, "dies": 3}], timeout=90)
    assert done.returncode != 0
    assert time.monotonic() - start < 75, "60 s is promised, and the start takes some"
    assert [step for step, _ in list_checkpoints(cut.experiment_dir)] == [2]
    assert "another process of this run has ended" in done.stderr
    cut.training.per_device_train_batch_size = 4
    train(cut, Watcher(), resume=True)
    whole = run_config(experiment_name="whole", per_device_train_batch_size=4, **FULL)
    train(whole, Watcher())
    same_weights(cut, whole)

"""Two GPUs train what one trains: each with the whole model, and each with half of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from runs import Watcher, logged, read_lines
from runs_together import assert_same_run, run_together
from surestep.config import Config
from surestep.training.run import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA GPUs"),
]

PYTHON = Path(sys.executable).parent
"""Not the quick one of other tests: CUDA cannot be set up in a fork of a process that has looked for it."""

STEPS = {"eval_steps": 2, "max_steps": 4, "learning_rate": 0.01, "save_steps": 2, "device": "cuda"}


def made(run_config: Callable[..., Config], name: str, *, batch: int, **settings: Any) -> Config:
    config = run_config("qwen3", experiment_name=name, per_device_train_batch_size=batch, **STEPS | settings)
    config.model.compile = False
    return config


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_two_gpus_are_one_in_float32(run_config: Callable[..., Config], tmp_path: Path, lora: bool) -> None:
    """Through NCCL; packs are small, so that the processes have different numbers of passes."""
    settings = {"lora": lora, "mixed_precision": "no", "token_budget": 120, "ema_decay": 0.5}
    one = made(run_config, "one", batch=4, **settings)
    train(one, Watcher())
    whole = made(run_config, "whole", batch=2, **settings)
    shards = made(run_config, "shards", batch=2, fsdp=True, **settings)
    again = made(run_config, "again", batch=2, fsdp=True, **settings)
    runs = [{"config": whole}, {"config": shards}, {"config": again, "resume": shards.experiment_dir, "step": 2}]
    done = run_together(PYTHON, tmp_path, runs, timeout=400)
    assert done.returncode == 0, done.stderr
    for config in (whole, shards, again):
        assert_same_run(config, one, rel=1e-3)


@pytest.mark.parametrize(
    "more", [{"fsdp": True}, {"cuda_graphs": False}, {"cuda_graphs": True}], ids=["fsdp", "data_parallel", "recorded"]
)
def test_two_gpus_learn_in_half_precision_as_one(
    run_config: Callable[..., Config], tmp_path: Path, more: dict[str, Any]
) -> None:
    settings = {"lora": False, "mixed_precision": "bf16", "learning_rate": 1e-3}
    one = made(run_config, "one", batch=4, cuda_graphs=False, **settings)
    two = made(run_config, "two", batch=2, **settings, **more)
    train(one, Watcher())
    done = run_together(PYTHON, tmp_path, [{"config": two}], timeout=400)
    assert done.returncode == 0, done.stderr
    lines = read_lines(two.experiment_dir / "metrics.jsonl")
    said = [line["text"] for line in lines if line["kind"] == "note" and line["text"].startswith("passes: recorded")]
    assert bool(said) is bool(more.get("cuda_graphs"))
    losses = [[loss for _, loss, *_ in logged(config.experiment_dir)["losses"]] for config in (two, one)]
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)

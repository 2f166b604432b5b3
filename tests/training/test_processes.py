"""Two processes train the model that one process with their batches together trains."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from launched import ACCELERATE, launch_two
from runs import Watcher, logged, tensors
from surestep.config import Config
from surestep.scoring.checkpoint.find import list_checkpoints
from surestep.training.run import train

SCRIPT = Path(__file__).parents[2] / "train_lora.py"

pytestmark = pytest.mark.slow  # two processes train


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
def test_two_processes_are_one_with_twice_the_batch(
    run_config: Callable[..., Config], tmp_path: Path, quick_python: Path
) -> None:
    # Where patience runs out, it does on both at once, for both know all scores. At five times this learning
    # rate the sums' other order, 1e-7 at first, grows to 2e-3 within the eight steps.
    settings = {"eval_steps": 1, "early_stopping_patience": 2, "max_steps": 8, "learning_rate": 0.01, "save_steps": 2}
    settings["ema_decay"] = 0.5  # the weights themselves are compared, too, and their average is on both processes
    two = run_config(experiment_name="two", per_device_train_batch_size=2, **settings)
    two.save(tmp_path / "two.json")
    words = [SCRIPT, "--config", tmp_path / "two.json"]
    done = launch_two(quick_python, "python", words, launcher=ACCELERATE)  # torchrun starts all other pairs
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("step 1/8") == done.stdout.count("next: python evaluate.py") == 1
    one = run_config(experiment_name="one", per_device_train_batch_size=4, **settings)
    train(one, Watcher())
    found, expected = (logged(config.experiment_dir) for config in (two, one))
    assert [step for step, *_ in found["losses"]] == [step for step, *_ in expected["losses"]]
    assert [loss for _, loss, *_ in found["losses"]] == pytest.approx(
        [loss for _, loss, *_ in expected["losses"]], rel=1e-4
    )
    assert [norm for *_, norm, _ in found["losses"]] == pytest.approx(
        [norm for *_, norm, _ in expected["losses"]], rel=1e-3
    )
    assert found["labels"] == expected["labels"]
    for (step, value, figures, _), (other_step, other, others, _) in zip(
        found["validations"], expected["validations"], strict=True
    ):
        assert (step, value) == (other_step, pytest.approx(other, rel=1e-4))
        assert figures == pytest.approx(others, rel=1e-2, abs=1e-4)
    passes = [json.loads((config.experiment_dir / "data_report.json").read_text())["datasets"] for config in (two, one)]
    assert passes[0]["own"]["expected_passes"] == passes[1]["own"]["expected_passes"]
    steps = [[step for step, _ in list_checkpoints(config.experiment_dir)] for config in (two, one)]
    assert steps[0] == steps[1]
    mine, theirs = (tensors(config.experiment_dir / "checkpoint_step_2") for config in (two, one))
    for name, value in theirs.items():
        if "optimizer.safetensors" not in name:
            torch.testing.assert_close(mine[name], value, rtol=1e-3, atol=2e-4, msg=name)

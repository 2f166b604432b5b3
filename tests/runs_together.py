"""Runs of training by two processes, and what they must share with the run of one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from launched import launch_two
from runs import logged, tensors
from surestep.config import Config
from surestep.scoring.checkpoint.find import list_checkpoints

TOGETHER = Path(__file__).parent / "two_processes.py"


def run_together(
    python: Path, folder: Path, runs: Sequence[dict[str, Any]], *, timeout: float = 150, **launch: Any
) -> subprocess.CompletedProcess[str]:
    """Train `runs` (see `two_processes`), each with a `Config` as its `config`, by two (`launch_two`)."""
    listed = []
    for number, run in enumerate(runs):
        place = folder / f"run-{number}.json"
        run["config"].save(place)
        listed.append(run | {"config": str(place)})
    (folder / "runs.json").write_text(json.dumps(listed, default=str))
    return launch_two(python, "python", [TOGETHER, folder / "runs.json"], timeout=timeout, **launch)


def assert_same_run(found: Config, expected: Config, *, rel: float = 1e-4) -> None:
    """Losses, norms, labels, validations, reports and weights of two runs agree within float error, `rel` of losses."""
    mine, theirs = (logged(config.experiment_dir) for config in (found, expected))
    assert mine["labels"] == theirs["labels"]
    for ours, other in zip(mine["losses"], theirs["losses"], strict=True):
        assert ours == pytest.approx(other, rel=rel)
    for (step, value, figures, _), (other_step, other, others, _) in zip(
        mine["validations"], theirs["validations"], strict=True
    ):
        assert (step, value) == (other_step, pytest.approx(other, rel=rel))
        assert figures == pytest.approx(others, rel=10 * rel, abs=1e-5)
    reports = [json.loads((c.validation_dir / "eval_metrics.json").read_text()) for c in (found, expected)]
    assert reports[0]["overall"]["num_steps"] == reports[1]["overall"]["num_steps"]
    assert reports[0]["overall"]["nll"] == pytest.approx(reports[1]["overall"]["nll"], rel=rel)
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

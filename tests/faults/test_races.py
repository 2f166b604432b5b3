"""Pairs of processes that start within a moment of each other on one folder: one works, the other is refused."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from injected_faults import Ended, Forked
from runs import Watcher
from surestep.cli.main import main
from surestep.config import Config
from surestep.scoring.checkpoint.find import list_checkpoints
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.training.run import train
from survival import unfinished

pytestmark = pytest.mark.faults
Tally = Callable[..., None]
ROUNDS = 10
REFUSALS = ("is in use by surestep ", "exists: continue with --resume")


def race(first: list[Any], second: list[Any], wait_s: float) -> list[Ended]:
    processes = []
    for words in (first, second):
        arguments = [str(word) for word in words]
        processes.append(Forked(lambda arguments=arguments: main(arguments)))
        time.sleep(wait_s if len(processes) == 1 else 0)
    return [process.wait() for process in processes]


@pytest.mark.parametrize("kind", ["two runs", "two resumed runs", "a resumed run and calibrate", "two evaluations"])
def test_pairs(run_config: Callable[..., Config], tmp_path: Path, kind: str, tally: Tally) -> None:
    rng = random.Random(kind)
    failed = []
    for number in range(ROUNDS):
        config = run_config(max_steps=4, save_steps=1, output_dir=tmp_path / f"{number}", baselines=False, report=False)
        path = tmp_path / f"{number}.json"
        if kind != "two runs":
            config.training.max_steps = 2
            train(config, Watcher())
            config.training.max_steps = 4
        config.save(path)
        begin = ["train", "--config", path]
        resume = [*begin, "--resume", "--max_steps", 4]
        checkpoint = config.experiment_dir / "checkpoint_step_2"
        calibrate = ["calibrate", "--checkpoint", checkpoint, "--method", "temperature"]
        evaluate = ["evaluate", "--checkpoint", checkpoint, "--output_dir", config.output_dir / "results"]
        pair = {
            "two runs": (begin, begin),
            "two resumed runs": (resume, resume),
            "a resumed run and calibrate": (resume, calibrate),
            "two evaluations": (evaluate, evaluate),
        }[kind]
        ends = race(*pair, rng.choice((0.0, 0.02, 0.1, 0.3)))
        refused = [ended for ended in ends if ended.code == 2 and any(words in ended.err for words in REFUSALS)]
        is_sound = {ended.code for ended in ends} <= {0, 2} and sum(ended.code == 0 for ended in ends) >= 1
        is_named = len(refused) == sum(ended.code != 0 for ended in ends)
        for _, saved in list_checkpoints(config.experiment_dir):
            load_checkpoint(saved)
        is_sound = is_sound and unfinished(config.output_dir) == []
        tally(f"race of {kind}", survived=is_sound, named=is_named)
        if not (is_sound and is_named):
            failed.append((number, ends))
    assert failed == []

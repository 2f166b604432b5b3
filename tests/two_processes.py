"""Runs of training by two processes, one after another: a launcher starts this file twice.

    python -m torch.distributed.run --nproc_per_node 2 tests/two_processes.py RUNS.json

`RUNS.json` lists runs: `config` is a saved configuration; `resume` goes on with it, from a copy of the folder
`resume` up to its `step`, if that is given. `breaks` lets memory run out on the second process behind its so manieth
pass; `dies` kills the second process behind that step.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from runs import Watcher
from surestep.config import Config
from surestep.scoring.checkpoint.find import list_checkpoints
from surestep.training import run
from surestep.training.events.log import Log
from surestep.training.optimizer_step import OptimizerStep

PASS, STEP_DONE, CLOSED = OptimizerStep._pass, Log.step_done, run.group_closed
ROOMY = 1 << 20


def main() -> int:
    """Train all of them; what the first process said of each goes to stdout, a line of JSON a run."""
    rank = int(os.environ["RANK"])
    run.training_token_budget = lambda *_args, **_settings: ROOMY
    runs = json.loads(Path(sys.argv[1]).read_text())
    for number, wanted in enumerate(runs, start=1):
        is_last = number == len(runs)
        run.group_closed = CLOSED if is_last else nullcontext  # a launcher connects its processes once
        OptimizerStep._pass = _breaking(wanted["breaks"]) if rank == 1 and "breaks" in wanted else PASS
        Log.step_done = _dying(wanted["dies"]) if rank == 1 and "dies" in wanted else STEP_DONE
        config = Config.from_file(wanted["config"])
        if "step" in wanted and rank == 0:
            copy_up_to(Path(wanted["resume"]), config.experiment_dir, wanted["step"])
        watcher = Watcher()
        run.train(config, watcher, resume="resume" in wanted)
        assert torch.distributed.is_initialized() != is_last, "what connects the processes is closed behind a run"
        if rank == 0:
            print(json.dumps(watcher.of("say")), flush=True)
    return 0


def copy_up_to(experiment: Path, place: Path, step: int) -> None:
    """A copy of a run's folder as it was when it had saved `step`."""
    shutil.copytree(experiment, place)
    for number, checkpoint in list_checkpoints(place):
        if number > step:
            shutil.rmtree(checkpoint)


def _breaking(number: int) -> Any:
    passes: list[int] = []

    def breaking(self: OptimizerStep, pack: Any) -> torch.Tensor:
        passes.append(1)
        loss = PASS(self, pack)
        if len(passes) == number:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss

    return breaking


def _dying(step: int) -> Any:
    def dying(self: Log, done: Any) -> None:
        STEP_DONE(self, done)
        if done.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return dying


if __name__ == "__main__":
    sys.exit(main())

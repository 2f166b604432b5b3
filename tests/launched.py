"""Commands that a launcher starts as two processes, as `torchrun` and `accelerate launch` do."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TORCHRUN = (
    *("-c", "from torch.distributed.run import main; main()"),
    *("--standalone", "--nproc_per_node", "2"),
)
ACCELERATE = (
    *("-c", "from accelerate.commands.accelerate_cli import main; main()", "launch"),
    *("--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"),
    *("--mixed_precision", "no", "--dynamo_backend", "no"),
)
"""What Python runs for these commands. Accelerate starts several processes on a CPU, too, where GPUs are asked for."""


def launch_two(
    python: Path,
    program: str,
    arguments: Sequence[Any],
    *,
    launcher: Sequence[str] = TORCHRUN,
    timeout: float = 150,
    looks_every_s: float = 0.1,
) -> subprocess.CompletedProcess[str]:
    """Start `program` of the folder `python` (`python` or `surestep`) twice with `arguments`, and wait for both.

    The launcher looks every `looks_every_s` whether one has ended, and then ends the other.
    """
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [
            *(python / "python", *launcher),
            *("--monitor_interval", str(looks_every_s)),
            *("--no-python", python / program, *map(str, arguments)),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        timeout=timeout,
        check=False,
    )

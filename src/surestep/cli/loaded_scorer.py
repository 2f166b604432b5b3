"""The checkpoint, or the ensemble of several, that a command of tables scores with."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from surestep.cli.checkpoint_argument import named_checkpoints
from surestep.cli.flags import override
from surestep.counted import counted

if TYPE_CHECKING:
    from rich.console import Console

    from surestep.inference.scorer import Scorer
    from surestep.inference.tables.processes import Processes


def load_scorer(args: argparse.Namespace, console: Console, processes: Processes) -> Scorer:
    """What the flags name, as they want it."""
    from surestep.inference.scorer import Scorer
    from surestep.scoring.checkpoint.find import find_checkpoint
    from surestep.scoring.checkpoint.load import read_config
    from surestep.scoring.hardware import for_scoring_here, use_gpu

    def say(line: str) -> None:
        console.print(f"· {line}")

    found = [find_checkpoint(path, revision=args.revision) for path in named_checkpoints(args)]
    for one in found:
        if one.line is not None:
            say(one.line)
    if processes.count > 1:
        use_gpu(processes.local_rank)
        say(f"{counted(processes.count, 'process shares', 'processes share')} the rows")
    scorer = Scorer.from_configs(
        [(one.folder, override(for_scoring_here(read_config(one.folder)), args)) for one in found],
        calibrated=args.calibration == "pooled",
        dataset=args.dataset,
        say=say,
        calibration_file=getattr(args, "calibration_file", None),
    )
    for reason in scorer.reasons:
        say(reason)
    return scorer


def checkpoint_facts(scorer: Scorer) -> dict[str, Any]:
    """What of the model decides the numbers."""
    about = scorer.about()
    settings: Mapping[str, Any] = about.get("settings", {}).get("eval", {})
    map_of_file = {"calibration_file": about["calibration"]["sha256"]} if scorer.is_ensemble else {}
    return {
        "checkpoint": about.get("manifest_sha256"),
        "attention": about.get("attention"),
        "precision": about.get("precision"),
        "scoring_weights": settings.get("scoring_weights"),
        "device": scorer.model_scorer.hardware.device.type,
        **map_of_file,
    }

"""Checkpoints of one tiny backbone that differ in their weights: members of an average or of an ensemble."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from surestep.config import Config


def write_members(
    folder: Path,
    build: Callable[..., Any],
    config: Config,
    count: int,
    *,
    calibration: Any = None,
    names: str = "checkpoint_step_{}",
) -> list[Path]:
    """`count` checkpoints in `folder`; all weights that are trained differ, as after some steps of a run."""
    import torch

    from surestep.scoring.checkpoint.save import save_checkpoint

    built = build(config=config)
    built.calibration = calibration
    generator = torch.Generator().manual_seed(7)
    places = []
    for step in range(1, count + 1):
        with torch.no_grad():
            for parameter in built.model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
        places.append(folder / names.format(step))
        save_checkpoint(places[-1], built, config, step=step, label_means={"own": 0.5 + step / 10}, label_mean=0.5)
    return places

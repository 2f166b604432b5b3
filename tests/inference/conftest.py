"""A small checkpoint with a calibration, in a run of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from surestep import Scorer
from surestep.calibration.calibration import Calibration
from surestep.calibration.maps import Platt

if TYPE_CHECKING:
    from surestep.config import Config
    from surestep.scoring.build_model import BuiltModel


@pytest.fixture(scope="session")
def run_folder(
    tmp_path_factory: pytest.TempPathFactory,
    build_small: Callable[..., BuiltModel],
    small_config: Callable[..., Config],
) -> Path:
    """A run with two checkpoints, the first of them marked as the best; GPT-2, whose longest path is 256 tokens."""
    from surestep.files import BEST, write_json
    from surestep.scoring.checkpoint.save import save_checkpoint

    folder = tmp_path_factory.mktemp("outputs") / "mine"
    built = build_small("gpt2")
    built.calibration = Calibration(Platt(0.5, 0.3), {"own": Platt(0.25, -0.5)})
    for step in (2, 4):
        save_checkpoint(folder / f"checkpoint_step_{step}", built, small_config("gpt2"), step=step, label_means={})
    write_json(folder / BEST, {"checkpoint": "checkpoint_step_2"})
    return folder


@pytest.fixture(scope="session")
def checkpoint(run_folder: Path) -> Path:
    return run_folder / "checkpoint_step_2"


@pytest.fixture(scope="session")
def scorer(checkpoint: Path) -> Scorer:
    """The checkpoint loaded; tests leave it as it was."""
    return Scorer.load(checkpoint, device="cpu")

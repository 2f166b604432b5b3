"""Several checkpoints as one scorer, as `evaluate`, `benchmark` and `calibrate` open them.

Knows arguments and printing; the mean is taken in `surestep.scoring.ensemble`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from surestep.cli.checkpoint_argument import named_checkpoints
from surestep.cli.flags import override
from surestep.cli.scorers import OpenedScorer, check_has_file, with_map

if TYPE_CHECKING:
    from rich.console import Console

    from surestep.config import Config
    from surestep.evaluation.calibration_effect import CalibrationUse
    from surestep.scoring.ensemble.load_ensemble import LoadedEnsemble


@dataclass(frozen=True)
class OpenedEnsemble:
    """An ensemble that is ready.

    Attributes:
        found: the scorer, with the map of its mean, where one is applied.
        loaded: its members.
        config: of the first member, as the flags want it: what is scored, and how.
    """

    found: OpenedScorer
    loaded: LoadedEnsemble
    config: Config


def open_ensemble(
    args: argparse.Namespace,
    console: Console,
    *,
    use: CalibrationUse | None,
    settled: Callable[[Config], Config] = lambda config: config,
) -> OpenedEnsemble:
    """Load what the flags name; how it runs is said on the console.

    Args:
        args: with `checkpoints`, and `calibration_file` where the command has it.
        console: for the lines.
        use: of `--calibration`; unset: the pooled map, where there is a file.
        settled: what the command makes of a configuration beyond its flags.

    Raises:
        CheckpointError, DeviceError: a member cannot be loaded, or they do not fit together.
        ConfigError: the calibration file is of another scorer.
    """
    from surestep.scoring.checkpoint.load import read_config
    from surestep.scoring.ensemble.load_ensemble import load_ensemble
    from surestep.scoring.hardware import for_scoring_here

    file = getattr(args, "calibration_file", None)
    check_has_file(file, use)
    paths = named_checkpoints(args)
    named = [(path, settled(override(for_scoring_here(read_config(path)), args))) for path in paths]
    loaded = load_ensemble(named)
    for reason in loaded.reasons:
        console.print(f"· {reason}", markup=False, highlight=False)
    config = named[0][1]
    spec = " ".join(str(path) for path in paths)
    return OpenedEnsemble(with_map(loaded.scorer(), file, use, spec=spec), loaded, config)

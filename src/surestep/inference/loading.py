"""What `surestep.Scorer` is loaded with, checked before anything is read; and how it splits a raw solution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from surestep.data.trees.split_steps import TAG, split_steps
from surestep.errors import ConfigError, InputError
from surestep.files import sha256_of
from surestep.inference.solutions import kind_of
from surestep.scoring.checkpoint.find import find_checkpoint
from surestep.untrusted.bounds import shown

if TYPE_CHECKING:
    from surestep.config import Config
    from surestep.scoring.ensemble.ensemble_scorer import EnsembleScorer
    from surestep.scoring.model_scorer import ModelScorer


def split_as_in_training(text: str, *, rule: str) -> tuple[str, ...]:
    """The steps by the checkpoint's rule, where it finds what it goes by: else the whole would be one step, unsaid."""
    if rule.startswith(TAG) and (tag := rule.removeprefix(TAG)) not in text:
        raise InputError(
            f"the raw solution {shown(text)} holds no {tag!r}, at which the checkpoint's training data were split; "
            'name another rule: split="auto"'
        )
    return split_steps(text, rule).steps


def paths_of(path: object) -> list[str | Path]:
    """The checkpoints that `path` names: one, or the members of an ensemble.

    Raises:
        InputError: it is neither, or empty.
    """
    allowed = "allowed: text or a Path, of a run, a checkpoint or a hub id"
    several = isinstance(path, Sequence) and not isinstance(path, str | bytes)
    paths: list[Any] = list(path) if several and isinstance(path, Sequence) else [path]
    for one in paths:
        if not isinstance(one, str | Path):
            what = f"'path' holds {kind_of(one)}" if several else f"'path' is {kind_of(one)}"
            raise InputError(f"{what}; {allowed}, or a list of them, which is an ensemble")
    if not paths or not all(str(one).strip() for one in paths):
        raise InputError("'path' is empty; allowed: a run, a checkpoint or a hub id")
    return paths


def chosen_checkpoints(
    path: object,
    revision: str | None,
    device: str,
    token_budget: int | None,
    backbone: str | Path | None,
    say: Callable[[str], None],
) -> list[tuple[Path, Config]]:
    """The folder of each checkpoint that `Scorer.load` is to load, with its configuration as these options want it.

    Raises:
        InputError: `path` names none.
        CheckpointError: one is not there, or damaged.
    """
    from surestep.scoring.checkpoint.load import read_config
    from surestep.scoring.hardware import for_scoring_here

    members = []
    for one in paths_of(path):
        found = find_checkpoint(one, revision=revision)
        if found.line is not None:
            say(found.line)
        config = for_scoring_here(read_config(found.folder))
        config.training.device = device  # type: ignore[assignment]
        config.eval.eval_token_budget = token_budget
        if backbone is not None:
            config.model.backbone = str(backbone)
        members.append((found.folder, config))
    return members


@dataclass(frozen=True)
class ReadyScorer:
    """What scores, how raw solutions were split in training, and a line for each choice that loading made."""

    scorer: ModelScorer | EnsembleScorer
    split_rule: str | None
    reasons: Sequence[str]


def load_scorer(
    members: Sequence[tuple[Path, Config]],
    *,
    calibrated: bool,
    calibration_file: Path | None,
    say: Callable[[str], None],
) -> ReadyScorer:
    """Load one checkpoint, or several as an ensemble, each with every setting of its configuration.

    Raises:
        CheckpointError, DeviceError: one cannot be loaded, or they do not fit together.
        ConfigError: the calibration file is of others, or of one checkpoint.
    """
    if len(members) == 1:
        if calibration_file is not None:
            raise ConfigError(
                f"the calibration file {calibration_file} is for an ensemble, and one checkpoint is named, which keeps "
                "its own map: leave the file out, or name all members"
            )
        from surestep.scoring.checkpoint.load import load_checkpoint

        ((folder, config),) = members
        loaded = load_checkpoint(folder, config=config)
        alone = loaded.scorer(config, calibrated=calibrated)
        alone.say = say
        return ReadyScorer(alone, loaded.config.data.split_rule(), loaded.built.reasons)
    from surestep.scoring.checkpoint.calibration_file import read_calibration_of
    from surestep.scoring.ensemble.load_ensemble import load_ensemble

    ensemble = load_ensemble(members)
    scorer = ensemble.scorer()
    stored: dict[str, Any] = {"stored": calibration_file is not None, "applied": "none", "sha256": None}
    if calibration_file is not None:
        found = read_calibration_of(scorer, calibration_file)
        scorer.calibration = found if calibrated else None
        stored |= {"applied": "pooled" if calibrated else "none", "sha256": sha256_of(calibration_file)}
    scorer.facts = {**scorer.facts, "calibration": stored}
    for member in scorer.members:
        member.say = say
    return ReadyScorer(scorer, ensemble.members[0].config.data.split_rule(), ensemble.reasons)


def check_options(
    revision: object, device: object, calibrated: object, token_budget: object, backbone: object, calibration: object
) -> None:
    """Check the other arguments of `Scorer.load`.

    Raises:
        InputError: one is of the wrong type, or out of range.
    """
    from surestep.config.training import TrainingConfig

    if revision is not None and not isinstance(revision, str):
        raise InputError(f"'revision' is {kind_of(revision)}; allowed: a branch, a tag or a commit, or None")
    devices = get_args(TrainingConfig.model_fields["device"].annotation)
    if device not in devices:
        raise InputError(f"'device' is {shown(device)}; allowed: {', '.join(devices)}")
    if not isinstance(calibrated, bool):
        raise InputError(f"'calibrated' is {kind_of(calibrated)}; allowed: True or False")
    if token_budget is not None and (
        isinstance(token_budget, bool) or not isinstance(token_budget, int) or token_budget < 1
    ):
        raise InputError(f"'token_budget' is {kind_of(token_budget)}; allowed: a whole number from 1, or None")
    if calibration is not None and not isinstance(calibration, str | Path):
        raise InputError(f"'calibration_file' is {kind_of(calibration)}; allowed: a file, or None")
    if backbone is not None and not isinstance(backbone, str | Path):
        raise InputError(f"'backbone' is {kind_of(backbone)}; allowed: a folder or a hub id, or None")

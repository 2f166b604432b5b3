"""Fitting the calibration of a checkpoint or another scorer: validation scored without a map, maps fitted, judged.

Every figure here is of problems that the map had not seen. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from surestep.calibration import CalibrationData, Fitted, fit_calibration
from surestep.calibration.calibration import Calibration
from surestep.config import Config
from surestep.evaluation.calibration_effect import content_of, figures_by_dataset
from surestep.evaluation.certify.seen import PROBLEMS
from surestep.evaluation.launched import ALONE, spread, stored_splits
from surestep.scoring.build_model import BuiltModel
from surestep.scoring.checkpoint.versions import git_commit, library_versions
from surestep.scoring.evaluation_file import dataset_labels_unscored
from surestep.scoring.protocol import Scorer
from surestep.scoring.score_split import score_split
from surestep.scoring.spread.together import Together
from surestep.scoring.stored_split import ProgressFactory, StoredSplit

WITHIN_FOLDS = "chosen within folds"
"""The row of the whole procedure, choice included: what to expect on new problems."""


@dataclass(frozen=True)
class CalibrationResult:
    """A fitted calibration, with the record that is stored beside its maps.

    Attributes:
        calibration: ready to store.
        fitted: the choice and the datasets' verdicts.
        held_out: `figures_by_dataset` on held-out folds by map, and `WITHIN_FOLDS`; identity is "before".
        datasets: what was scored, by dataset.
    """

    calibration: Calibration
    fitted: Fitted
    held_out: dict[str, dict[str, Any]]
    datasets: dict[str, dict[str, Any]]


def calibrate(
    built: BuiltModel,
    config: Config,
    *,
    methods: Sequence[str] | None,
    progress: ProgressFactory,
    together: Together = ALONE,
) -> CalibrationResult:
    """Score the validation split of every enabled dataset with a checkpoint's model and fit the maps, see `fit_maps`.

    The other processes of `together` help (`launched.help_to_score`).

    Raises:
        DataError: files are missing or malformed, or the labels are too few or of one kind.
    """
    seed = config.training.seed
    splits = stored_splits(built, config.data, "validation", seed=seed, progress=progress, together=together)
    scorer = spread(built.scorer(config, calibrated=False), built, together)
    return fit_maps(scorer, splits, methods=methods, seed=seed, progress=progress)


def fit_maps(
    scorer: Scorer,
    splits: Sequence[StoredSplit],
    *,
    methods: Sequence[str] | None,
    seed: int,
    progress: ProgressFactory,
    about_scorer: Mapping[str, Any] | None = None,
) -> CalibrationResult:
    """Score labelled steps and fit the maps.

    The record says of every map in which place it competed (`maps`: in place of none, on all data; `own_map` and `maps`
    of a dataset), whether it was accepted, and if not by which figure it was rejected, with the numbers.

    Problems are told apart by their key, which eQASC's choices of one question share, and two datasets that hold the
    same problem: no fold parts them.

    Args:
        scorer: gives confidences without a map.
        splits: what it scores.
        methods: which maps compete with none; all where left out.
        seed: deals problems out to folds.
        progress: is told of every tree.
        about_scorer: goes into the record, as `scorer`.

    Raises:
        DataError: the labels are too few or of one kind.
    """
    steps = score_split(scorer, splits, wanted="labelled", progress=progress)
    labels_beyond = dataset_labels_unscored(steps)
    datasets = {split.name: _facts(split, labels_beyond[split.name]) for split in splits}
    steps = steps.measured()
    data = CalibrationData(
        confidence=steps.confidence,
        label=steps.label,
        problem=steps.problem,
        dataset=steps.dataset,
        dataset_names=steps.dataset_names,
    )
    fitted = fit_calibration(data, methods=methods, seed=seed)
    confidences = {**fitted.choice.held_out, WITHIN_FOLDS: fitted.held_out}
    held_out = {name: figures_by_dataset(steps, confidence) for name, confidence in confidences.items()}
    maps = fitted.calibration()
    about = {
        **({} if about_scorer is None else {"scorer": dict(about_scorer)}),
        "split": "validation",
        "methods": list(fitted.choice.scores) if methods is None else list(methods),
        "num_steps": len(data),
        "num_problems": data.num_problems,
        PROBLEMS: sorted({f"{value:016x}" for split in splits for value in split.text_hashes().tolist()}),
        "num_folds": fitted.num_folds,
        "seed": fitted.seed,
        "held_out": held_out,
        "maps": {kind: judgement.to_json() for kind, judgement in fitted.choice.judgements.items()},
        "datasets": {
            name: {**found, **fitted.verdicts[name].to_json()} if name in fitted.verdicts else found
            for name, found in datasets.items()
        },
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": library_versions(),
        "git_commit": git_commit(),
    }
    return CalibrationResult(Calibration(maps.pooled, maps.datasets, about), fitted, held_out, datasets)


def _facts(split: StoredSplit, labels_unscored: int) -> dict[str, Any]:
    assert split.source is not None, "what is calibrated on was read from files or generated"
    return {
        "files": [str(path) for path in split.source.files],
        "fingerprint": split.source.fingerprint(),
        "content": content_of(split.source),
        "labels_beyond_position_limit": labels_unscored,
        "reading": split.report,
    }

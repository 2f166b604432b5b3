"""Fitting a checkpoint's calibration: validation scored without a map, maps fitted, figures on held-out folds.

Every figure here is of problems that the map had not seen. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from surestep.calibration import CalibrationData, Fitted, fit_calibration
from surestep.calibration.calibration import Calibration
from surestep.config import Config
from surestep.data.records.read_report import ReadReport
from surestep.data.sources.choose import Source, enabled_sources
from surestep.data.trees.identity import problem_key
from surestep.encoding.encoded_tree import encode_trees
from surestep.evaluation.calibration_effect import content_of, figures_by_dataset
from surestep.scored import ScoredSteps
from surestep.scoring.build_model import BuiltModel
from surestep.scoring.checkpoint.manifest import git_commit, library_versions
from surestep.scoring.model_scorer import StepScorer

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


@dataclass
class _Columns:
    """Columns that grow by one dataset after the other."""

    confidence: list[float]
    label: list[float]
    problem: list[int]
    dataset: list[int]
    position: list[int]
    problems: dict[str, int]


def calibrate(
    built: BuiltModel,
    config: Config,
    *,
    methods: Sequence[str] | None,
    progress: Callable[[str], Callable[[int], None]],
) -> CalibrationResult:
    """Score the validation split of every enabled dataset and fit the maps.

    The record says of every map in which place it competed (`maps`: in place of none, on all data; `own_map` and `maps`
    of a dataset), whether it was accepted, and if not by which figure it was rejected, with the numbers.

    Problems are told apart by their key, which eQASC's choices of one question share, and two datasets that hold the
    same problem: no fold parts them.

    Raises:
        DataError: files are missing or malformed, or the labels are too few or of one kind.
    """
    scorer = built.scorer(config, calibrated=False)
    columns = _Columns([], [], [], [], [], {})
    datasets: dict[str, dict[str, Any]] = {}
    for source in enabled_sources(config.data, "validation", seed=config.training.seed):
        datasets[source.name] = _score(source, scorer, columns, len(datasets), progress)
    data = CalibrationData(
        confidence=np.array(columns.confidence, np.float64),
        label=np.array(columns.label, np.float64),
        problem=np.array(columns.problem, np.int64),
        dataset=np.array(columns.dataset, np.int64),
        dataset_names=tuple(datasets),
    )
    fitted = fit_calibration(data, methods=methods, seed=config.training.seed)
    held_out = _figures(data, np.array(columns.position, np.int64), fitted)
    maps = fitted.calibration()
    about = {
        "split": "validation",
        "methods": list(fitted.choice.scores) if methods is None else list(methods),
        "num_steps": len(data),
        "num_problems": data.num_problems,
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


def _score(
    source: Source,
    scorer: StepScorer,
    columns: _Columns,
    index: int,
    progress: Callable[[str], Callable[[int], None]],
) -> dict[str, Any]:
    reading = ReadReport()
    trees = list(source.read(reading))
    advance = progress(f"scoring {source.name} {source.split}")
    encoded = encode_trees(trees, scorer.tokenizer, scorer.formatter)
    unscored = 0
    for tree, scores in zip(trees, scorer.score_encoded(encoded, every_step=False), strict=True):
        unscored += scores.loss.labels_dropped
        columns.confidence += scores.raw_S.tolist()
        columns.label += scores.label_S.astype(np.float64).tolist()
        columns.position += scores.depth_S.tolist()
        number = columns.problems.setdefault(problem_key(tree), len(columns.problems))
        columns.problem += [number] * len(scores.raw_S)
        columns.dataset += [index] * len(scores.raw_S)
        advance(1)
    return {
        "files": [str(path) for path in source.files],
        "fingerprint": source.fingerprint(),
        "content": content_of(source),
        "labels_beyond_position_limit": unscored,
        "reading": reading.to_dict(),
    }


def _figures(data: CalibrationData, position: Any, fitted: Fitted) -> dict[str, dict[str, Any]]:
    predictions = ScoredSteps.of_columns(
        confidence=data.confidence,
        label=data.label,
        dataset=data.dataset,
        dataset_names=data.dataset_names,
        problem=data.problem * len(data.dataset_names) + data.dataset,  # here a problem belongs to one dataset
        position=position,
    )
    confidences = {**fitted.choice.held_out, WITHIN_FOLDS: fitted.held_out}
    return {name: figures_by_dataset(predictions, confidence) for name, confidence in confidences.items()}

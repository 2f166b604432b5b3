"""A checkpoint, or any other scorer, on every step of a split: the numbers, and every prediction.

Nothing is sampled and nothing stops after some batches; what could not be scored is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from surestep.calibration.calibration import Calibration
from surestep.config import TINY_BACKBONE, Config, DataConfig, EvalConfig
from surestep.data.sources.choose import enabled_sources
from surestep.disk import real_path
from surestep.encoding.formatter import Formatter
from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.evaluation.baselines.beside import PlanOf, fitted_beside, leaves_a_core
from surestep.evaluation.baselines.scores import Baselines, own_baselines, trained_baselines, trained_plan
from surestep.evaluation.calibration_effect import CalibrationUse, calibration_report, content_of
from surestep.evaluation.report.write import WrittenReport, left_of_other_evaluations, write_report
from surestep.files import METRICS, PREDICTIONS, written_together
from surestep.metrics.report import ConstantBaseline
from surestep.scored import ScoredSteps
from surestep.scoring.evaluation_file import (
    dataset_facts,
    dataset_labels_unscored,
    evaluation_report,
    write_evaluation_files,
)
from surestep.scoring.other_scorers.wrapped import MeasuredScorer
from surestep.scoring.predictions_file import RowsInView, read_predictions
from surestep.scoring.protocol import Scorer
from surestep.scoring.score_split import score_split
from surestep.scoring.stored_split import ProgressFactory, StoredSplit, prepare_source

if TYPE_CHECKING:  # torch is for checkpoints; a file of predictions needs none
    from surestep.scoring.build_model import BuiltModel
    from surestep.scoring.checkpoint.load import LoadedCheckpoint
    from surestep.scoring.spread.together import Together

EvaluatedSplit = Literal["test", "validation"]


@dataclass
class Evaluation:
    """A finished evaluation.

    Attributes:
        report: the content of `eval_metrics.json`.
        path: where that lies.
        num_predictions: rows that were kept; None where they were not asked for.
        written: the page and the card; None where they were not asked for.
        left: a sentence for each file of an earlier evaluation that lies there and was not written anew.
    """

    report: dict[str, Any]
    path: Path
    num_predictions: int | None = None
    written: WrittenReport | None = None
    left: tuple[str, ...] = ()


@dataclass
class ScoredDatasets:
    """Every step of a split, what reading and scoring each dataset came to, and with which settings.

    Attributes:
        split: what was scored.
        config: the settings.
        steps: all rows.
        datasets: facts for the report, by name.
        calibration: the map that was asked for.
        contents: `content_of` each dataset.
        cost: what scoring took, see `MeasuredScorer.cost`.
        baselines: what was fitted beside it; None: baselines are still to be fitted, where they are asked for.
    """

    split: EvaluatedSplit
    config: Config
    steps: ScoredSteps
    datasets: dict[str, dict[str, Any]]
    calibration: CalibrationUse
    contents: dict[str, str]
    cost: dict[str, Any]
    baselines: Baselines | None = None


def default_output_dir(validation_dir: Path, checkpoint: Path) -> Path:
    """`<output_dir>/eval_<experiment>/<checkpoint>`: one level below the validation result that training leaves."""
    return validation_dir / real_path(checkpoint).name


def score_datasets(
    built: BuiltModel,
    config: Config,
    split: EvaluatedSplit,
    *,
    progress: ProgressFactory,
    calibration: CalibrationUse = "pooled",
    together: Together | None = None,
    plan_of: PlanOf | None = None,
) -> ScoredDatasets:
    """Score every step of `split` of each enabled dataset, with the map that `calibration` names if there is one.

    The other processes of `together` help (`launched.help_to_score`); `plan_of` says what is fitted beside the scoring.

    Raises:
        DataError: a dataset's files are missing or malformed.
    """
    from surestep.evaluation.launched import ALONE, spread, stored_splits

    together = together or ALONE
    seed = config.training.seed
    splits = stored_splits(built, config.data, split, seed=seed, progress=progress, together=together)
    compiling = built.compile_if_worth(config.model.compile, sum(stored.num_tokens for stored in splits))
    if built.is_compiled and compiling is not None:
        built.reasons.append(compiling)
    own = built.scorer(config, calibrated=calibration != "none")
    scorer = MeasuredScorer(spread(own, built, together))
    return _scored(scorer, splits, config, split, progress=progress, calibration=calibration, plan_of=plan_of)


def _scored(
    scorer: MeasuredScorer,
    splits: Sequence[StoredSplit],
    config: Config,
    split: EvaluatedSplit,
    *,
    progress: ProgressFactory,
    calibration: CalibrationUse,
    plan_of: PlanOf | None,
) -> ScoredDatasets:
    """Score, and fit baselines beside it where `plan_of` says which: the one place that orders both."""
    with fitted_beside(splits, plan_of) as fitting:
        steps = score_split(scorer, splits, own_maps=calibration == "dataset", progress=progress)
        baselines = fitting.of(steps)
    contents = {stored.name: content_of(stored.source) for stored in splits if stored.source is not None}
    facts = dataset_facts(splits, steps)
    return ScoredDatasets(split, config, steps, facts, calibration, contents, scorer.cost(), baselines)


def _planned_beside(loaded: LoadedCheckpoint, config: Config) -> PlanOf | None:
    """The baselines of a checkpoint that are fitted while it scores; None: they are fitted afterwards."""
    if not config.eval.baselines or not leaves_a_core(loaded.built):
        return None
    return partial(trained_plan, loaded=loaded, data=config.data, seed=config.training.seed)


def read_splits(
    config: DataConfig,
    split: EvaluatedSplit,
    *,
    seed: int,
    progress: ProgressFactory,
    tokens_of: BuiltModel | None = None,
) -> list[StoredSplit]:
    """`split` of each enabled dataset, stored with the tokens of a model; for a scorer of texts, the built-in one's.

    Raises:
        DataError: a dataset's files are missing or malformed.
    """
    if tokens_of is None:
        tokenizer, formatter = load_tokenizer(TINY_BACKBONE), Formatter()
    else:
        tokenizer, formatter = tokens_of.tokenizer, tokens_of.formatter
    sources = enabled_sources(config, split, seed=seed)
    return [prepare_source(one, tokenizer, formatter, cache_dir=config.cache_dir, progress=progress) for one in sources]


def evaluate_scorer(
    scorer: Scorer,
    config: Config,
    *,
    split: EvaluatedSplit,
    output_dir: Path,
    progress: ProgressFactory,
    stored: Calibration | None = None,
    calibration: CalibrationUse = "none",
    trained_as: LoadedCheckpoint | None = None,
) -> Evaluation:
    """Score every step of `split` of each enabled dataset with any scorer, and write what `evaluate_checkpoint` writes.

    Baselines are fitted within the split itself, as for a file of predictions: nobody knows what others trained on.

    Args:
        scorer: who scores; a map of its own is applied already.
        config: data and evaluation.
        split: which split.
        output_dir: where results go.
        progress: is told of every tree.
        stored: the calibration that belongs to the scorer, if any.
        calibration: the map of it that is applied.
        trained_as: the first member of an ensemble: its tokens, its training labels for baselines and constants.

    Raises:
        DataError: a dataset's files are missing or malformed.
        StorageError: the folder cannot be written.
    """
    seed, built = config.training.seed, None if trained_as is None else trained_as.built
    splits = read_splits(config.data, split, seed=seed, progress=progress, tokens_of=built)
    scored = _scored(
        MeasuredScorer(scorer),
        splits,
        config,
        split,
        progress=progress,
        calibration=calibration,
        plan_of=None if trained_as is None else _planned_beside(trained_as, config),
    )
    said = scorer.about()
    maps = calibration_report(stored, calibration, scored.steps.measured(), scored.contents)
    about = {
        "split": split,
        **said,
        "calibration": {**said.get("calibration", {}), **maps},
        "cost": scored.cost,
        "datasets": scored.datasets,
        "settings": config.to_dict(),
    }
    settings, baselines, constants = config.eval, Baselines(), None
    if trained_as is not None:
        manifest = trained_as.manifest
        constants = ConstantBaseline(per_dataset=manifest.label_means, overall=manifest.label_mean)
    if settings.baselines and trained_as is not None:
        baselines = scored.baselines or trained_baselines(scored.steps, trained_as, config.data, seed=seed)
    elif settings.baselines:
        baselines = own_baselines(scored.steps)
    keep_rows = settings.save_predictions
    return _write(scored.steps, about, baselines, settings, output_dir, constants=constants, keep_rows=keep_rows)


def evaluate_checkpoint(
    loaded: LoadedCheckpoint,
    config: Config,
    *,
    split: EvaluatedSplit,
    output_dir: Path,
    progress: ProgressFactory,
    calibration: CalibrationUse = "pooled",
    together: Together | None = None,
) -> Evaluation:
    """Score every step of `split` of each enabled dataset and write `eval_metrics.json` into `output_dir`.

    The other processes of `together` help (`launched.help_to_score`).

    Raises:
        DataError: a dataset's files are missing or malformed.
        StorageError: the folder cannot be written.
    """
    is_alone = together is None or together.count == 1  # others would wait while the training data are read
    scored = score_datasets(
        loaded.built,
        config,
        split,
        progress=progress,
        calibration=calibration,
        together=together,
        plan_of=_planned_beside(loaded, config) if is_alone else None,
    )
    return write_evaluation(loaded, scored, output_dir)


def write_evaluation(loaded: LoadedCheckpoint, scored: ScoredDatasets, output_dir: Path) -> Evaluation:
    """Measure what `loaded` scored; write `eval_metrics.json` and what its settings ask for into `output_dir`.

    Raises:
        StorageError: the folder cannot be written.
    """
    manifest, config, settings = loaded.manifest, scored.config, scored.config.eval
    baselines = Baselines()
    if settings.baselines:
        seed = config.training.seed
        baselines = scored.baselines or trained_baselines(scored.steps, loaded, config.data, seed=seed)
    calibration = calibration_report(
        loaded.built.calibration,
        scored.calibration,
        scored.steps.measured(),
        scored.contents,
        miscalibrated_by=loaded.config.training.loss_options().miscalibrating(),
    )
    about = {
        "split": scored.split,
        "checkpoint": str(loaded.folder),
        "step": manifest.step,
        "backbone": manifest.backbone,
        "attention": loaded.built.model.route,
        "precision": loaded.built.hardware.precision,
        "calibration": calibration,
        "cost": scored.cost,
        "datasets": scored.datasets,
        "settings": config.to_dict(),
    }
    constants = ConstantBaseline(per_dataset=manifest.label_means, overall=manifest.label_mean)
    return _write(
        scored.steps,
        about,
        baselines,
        settings,
        output_dir,
        constants=constants,
        keep_rows=settings.save_predictions,
    )


def evaluate_predictions(
    path: Path, *, output_dir: Path, settings: EvalConfig | None = None, with_page: bool = False
) -> Evaluation:
    """Report on a file of predictions, whoever made them.

    Args:
        path: the file.
        output_dir: where results go.
        settings: which intervals and baselines; the default ones where left out.
        with_page: also write `report.html`.

    Raises:
        DataError: the file is missing or a row is malformed.
    """
    settings = (settings or EvalConfig()).model_copy(update={"report": with_page})
    steps = read_predictions(path)
    baselines = own_baselines(steps) if settings.baselines else Baselines()
    without_score = {name: count for name, count in dataset_labels_unscored(steps).items() if count}
    about = {"split": "as given", "predictions": str(path), "labels_without_confidence": without_score}
    return _write(steps, about, baselines, settings, output_dir, constants=None, keep_rows=False, read_from=path)


def _write(
    steps: ScoredSteps,
    about: dict[str, Any],
    baselines: Baselines,
    settings: EvalConfig,
    folder: Path,
    *,
    constants: ConstantBaseline | None,
    keep_rows: bool,
    read_from: Path | None = None,
) -> Evaluation:
    report = evaluation_report(steps, settings, about, constants=constants, baselines=baselines.baselines)
    report["baselines_left_out"] = baselines.left_out
    with written_together():  # figures, predictions, page and card are of one evaluation, or all of the former one
        count = write_evaluation_files(folder, report, steps if keep_rows else None)
        evaluation = Evaluation(report, folder / METRICS, count)
        if settings.report:
            evaluation.written = write_report(report, folder, predictions=steps.measured(), rows=RowsInView(steps))
    own = folder / PREDICTIONS if keep_rows else read_from
    evaluation.left = left_of_other_evaluations(report, folder, own=own)
    return evaluation

"""A checkpoint on every step of a split: the numbers, and where asked every prediction.

Nothing is sampled and nothing stops after some batches; what could not be scored is counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from surestep.config import Config, EvalConfig
from surestep.data.records.read_report import ReadReport
from surestep.data.records.record import read_records
from surestep.data.sources.choose import Source, enabled_sources
from surestep.data.trees.identity import problem_key
from surestep.encoding.encoded_tree import EncodedTree, encode_trees
from surestep.errors import StorageError
from surestep.evaluation.baselines.scores import Baselines, own_baselines, trained_baselines
from surestep.evaluation.baselines.step_texts import texts_of_rows
from surestep.evaluation.calibration_effect import CalibrationUse, calibration_report, content_of
from surestep.evaluation.report.write import METRICS_FILE as METRICS_FILE
from surestep.evaluation.report.write import PREDICTIONS_FILE as PREDICTIONS_FILE
from surestep.evaluation.report.write import WrittenReport, write_report
from surestep.metrics.report import ConstantBaseline, build_report
from surestep.scoring.build_model import BuiltModel
from surestep.scoring.checkpoint.load import LoadedCheckpoint
from surestep.scoring.checkpoint.manifest import git_commit, library_versions
from surestep.scoring.model_scorer import StepScorer
from surestep.scoring.predictions_file import PredictionsFile, predictions_of_rows, write_rows
from surestep.scoring.stored_split import default_cache_dir
from surestep.types import ReasoningTree

EvaluatedSplit = Literal["test", "validation"]
Row = dict[str, Any]


@dataclass
class Evaluation:
    """A finished evaluation: the content of `eval_metrics.json`, where it lies, and the page made from it."""

    report: dict[str, Any]
    path: Path
    num_predictions: int | None = None
    written: WrittenReport | None = None


@dataclass
class ScoredSplit:
    """Every scored step of a split, what reading and scoring each dataset came to, and which map was asked for."""

    rows: list[Row] = field(default_factory=list)
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)
    calibration: CalibrationUse = "pooled"
    contents: dict[str, str] = field(default_factory=dict)

    def predictions(self) -> PredictionsFile:
        """The labelled steps as columns."""
        return predictions_of_rows((row, None) for row in self.rows)


def default_output_dir(config: Config, checkpoint: Path) -> Path:
    """`<output_dir>/eval_<experiment>/<checkpoint>`: one level below the validation result that training leaves."""
    return config.validation_dir / checkpoint.resolve().name


def score_split(
    built: BuiltModel,
    config: Config,
    split: EvaluatedSplit,
    *,
    progress: Callable[[str], Callable[[int], None]],
    calibration: CalibrationUse = "pooled",
) -> ScoredSplit:
    """Score every step of `split` of each enabled dataset, with the map that `calibration` names if there is one.

    Raises:
        DataError: a dataset's files are missing or malformed.
    """
    scorer = built.scorer(config, calibrated=calibration != "none")
    scored = ScoredSplit(calibration=calibration)
    for source in enabled_sources(config.data, split, seed=config.training.seed):
        trees, encoded, reading = _read_source(source, scorer)
        compiling = built.compile_if_worth(config, sum(tree.num_tokens for tree in encoded))
        if built.is_compiled and compiling is not None:
            built.reasons.append(compiling)
        _score_source(source, trees, encoded, reading, scorer, scored, progress)
    return scored


def evaluate_checkpoint(
    loaded: LoadedCheckpoint,
    config: Config,
    *,
    split: EvaluatedSplit,
    output_dir: Path,
    progress: Callable[[str], Callable[[int], None]],
    calibration: CalibrationUse = "pooled",
) -> Evaluation:
    """Score every step of `split` of each enabled dataset and write `eval_metrics.json` into `output_dir`.

    Raises:
        DataError: a dataset's files are missing or malformed.
        StorageError: the folder cannot be written.
    """
    scored = score_split(loaded.built, config, split, progress=progress, calibration=calibration)
    return write_evaluation(loaded, config, scored, split=split, output_dir=output_dir)


def write_evaluation(
    loaded: LoadedCheckpoint, config: Config, scored: ScoredSplit, *, split: EvaluatedSplit, output_dir: Path
) -> Evaluation:
    """Measure what `loaded` scored; write `eval_metrics.json` and what `config.eval` asks for into `output_dir`.

    Raises:
        StorageError: the folder cannot be written.
    """
    manifest = loaded.manifest
    found = scored.predictions()
    baselines = (
        trained_baselines(texts_of_rows(scored.rows), config, cache_dir=config.data.cache_dir or default_cache_dir())
        if config.eval.baselines
        else Baselines()
    )
    report = _report(
        found,
        ConstantBaseline(per_dataset=manifest.label_means, overall=manifest.label_mean),
        baselines,
        config.eval,
        {
            "split": split,
            "checkpoint": str(loaded.folder),
            "step": manifest.step,
            "backbone": manifest.backbone,
            "attention": loaded.built.model.route,
            "precision": loaded.built.hardware.precision,
            "calibration": calibration_report(
                loaded.built.calibration, scored.calibration, found.predictions, scored.contents
            ),
            "datasets": scored.datasets,
            "settings": config.to_dict(),
        },
    )
    evaluation = _write(output_dir, report, scored.rows if config.eval.save_predictions else None)
    if config.eval.report:
        evaluation.written = write_report(report, output_dir, predictions=found.predictions, rows=scored.rows)
    return evaluation


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
    settings = settings or EvalConfig()
    records = [(record.values, record.line) for record in read_records(path)]
    found = predictions_of_rows(records, path=path)
    rows = [values for values, _ in records]
    baselines = own_baselines(texts_of_rows(rows), found.predictions) if settings.baselines else Baselines()
    report = _report(found, None, baselines, settings, {"split": "as given", "predictions": str(path)})
    evaluation = _write(output_dir, report, None)
    if with_page:
        evaluation.written = write_report(report, output_dir, predictions=found.predictions, rows=rows)
    return evaluation


def _read_source(source: Source, scorer: StepScorer) -> tuple[list[ReasoningTree], list[EncodedTree], ReadReport]:
    reading = ReadReport()
    trees = list(source.read(reading))
    return trees, encode_trees(trees, scorer.tokenizer, scorer.formatter), reading


def _score_source(
    source: Source,
    trees: list[ReasoningTree],
    encoded: list[EncodedTree],
    reading: ReadReport,
    scorer: StepScorer,
    scored: ScoredSplit,
    progress: Callable[[str], Callable[[int], None]],
) -> None:
    advance = progress(f"scoring {source.name} {source.split}")
    steps = unscored = labels_unscored = 0
    own_map = source.name if scored.calibration == "dataset" else None
    for tree, scores in zip(trees, scorer.score_encoded(encoded, dataset=own_map), strict=True):
        steps += len(scores.source_S)
        unscored += scores.loss.steps_dropped
        labels_unscored += scores.loss.labels_dropped
        for index, depth, confidence, raw in zip(
            scores.source_S.tolist(),
            scores.depth_S.tolist(),
            scores.confidence_S.tolist(),
            scores.raw_S.tolist(),
            strict=True,
        ):
            confidences = {"confidence": confidence}
            if scorer.calibration is not None:
                confidences["raw_confidence"] = raw
            scored.rows.append(_row(tree, source.name, index, depth, confidences))
        advance(1)
    scored.contents[source.name] = content_of(source)
    scored.datasets[source.name] = {
        "problems": len(trees),
        "steps_scored": steps,
        "steps_beyond_position_limit": unscored,
        "labels_beyond_position_limit": labels_unscored,
        "files": [str(path) for path in source.files],
        "fingerprint": source.fingerprint(),
        "reading": reading.to_dict(),
    }


def _row(tree: ReasoningTree, dataset: str, index: int, depth: int, confidences: dict[str, float]) -> Row:
    node = tree.nodes[index]
    row: Row = {
        "dataset": dataset,
        "problem_id": tree.id or problem_key(tree),
        **({"group": tree.group} if tree.group else {}),
        "step": index,
        "parent": node.parent,
        "position": depth,
        **confidences,
        "label": node.confidence,
        "num_ratings": node.num_ratings,
    }
    if node.true_confidence is not None:
        row["true_confidence"] = node.true_confidence
    return row | {"problem": tree.problem, "text": node.text} | ({"context": node.context} if node.context else {})


def _report(
    found: PredictionsFile,
    constants: ConstantBaseline | None,
    baselines: Baselines,
    settings: EvalConfig,
    about: dict[str, Any],
) -> dict[str, Any]:
    report = build_report(
        found.predictions,
        baseline=constants,
        baselines=baselines.found,
        resamples=settings.bootstrap_resamples,
        seed=settings.bootstrap_seed,
    )
    return {
        **about,
        **report,
        "baselines_left_out": baselines.left_out,
        "num_steps_without_label": found.num_unlabelled,
        "steps_without_label": found.unlabelled,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": library_versions(),
        "git_commit": git_commit(),
    }


def _write(folder: Path, report: dict[str, Any], rows: list[Row] | None) -> Evaluation:
    path = folder / METRICS_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        count = None if rows is None else write_rows(folder / PREDICTIONS_FILE, rows)
        beside = path.with_suffix(".part")
        beside.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be written ({error.strerror}); free space or choose another --output_dir"
        ) from None
    return Evaluation(report, path, count)

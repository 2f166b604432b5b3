"""`eval_metrics.json` and the predictions with it, written in the same way by training and by `surestep evaluate`.

Knows scored steps and what a run says of itself; scores nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from surestep.config import EvalConfig
from surestep.data.datasets import DATASETS
from surestep.data.trees.step_kinds import STEP_KINDS, step_kind
from surestep.files import METRICS, PREDICTIONS, sha256_of, write_json, written_together
from surestep.metrics.bootstrap.draws import forget_draws
from surestep.metrics.error_analysis.section import NOTES as OF_ERRORS
from surestep.metrics.error_analysis.section import TextFacts, errors_of_dataset
from surestep.metrics.report import Baseline, ConstantBaseline, build_report
from surestep.metrics.solution_level.section import NOTES as OF_SOLUTIONS
from surestep.metrics.solution_level.section import solutions_of_dataset
from surestep.scored import ScoredSteps
from surestep.scoring.checkpoint.versions import git_commit, library_versions
from surestep.scoring.predictions_file import write_predictions
from surestep.scoring.stored_split import StoredSplit

Json = dict[str, Any]
PREDICTIONS_HASH = "predictions_sha256"
"""Key of `eval_metrics.json`: the hash of the predictions written with it, null where none were."""


def evaluation_report(
    steps: ScoredSteps,
    settings: EvalConfig,
    about: Mapping[str, Any],
    *,
    constants: ConstantBaseline | None = None,
    baselines: Sequence[Baseline] | None = None,
) -> Json:
    """The content of `eval_metrics.json`.

    Args:
        steps: every step of the split, as `score_split` gives them.
        settings: which intervals.
        about: what was scored and how; stands in front of the figures.
        constants: mean training labels.
        baselines: further predictors, a confidence for each measured step.
    """
    resamples, seed = settings.bootstrap_resamples, settings.bootstrap_seed
    measured, facts = steps.measured(), text_facts(steps.measured(keep_texts=True))
    conflicts = _known_conflicts(about.get("datasets", {}))
    solutions: dict[str, Json] = {}
    errors: dict[str, Json] = {}

    def add_solutions(name: str) -> None:
        solutions[name] = solutions_of_dataset(steps, name, resamples=resamples, seed=seed)

    def add_errors(name: str) -> None:
        errors[name] = errors_of_dataset(measured, facts, name, conflicts=conflicts, resamples=resamples, seed=seed)

    def in_file_order(sections: dict[str, Json]) -> dict[str, Json]:
        return {name: sections[name] for name in steps.dataset_names}

    figures = build_report(
        steps,
        baseline=constants,
        baselines=baselines,
        part_of_tree=part_of_each_tree(steps),
        resamples=resamples,
        seed=seed,
        beside=(add_solutions, add_errors),
    )
    without_label = _count_by_dataset(steps, np.isnan(steps.label) & ~np.isnan(steps.confidence))
    content = {
        **about,
        **figures,
        "solution_level": {
            "per_dataset": {name: solutions[name] for name in steps.dataset_names},
            "notes": OF_SOLUTIONS,
        },
        "error_analysis": {"per_dataset": in_file_order(errors), "notes": OF_ERRORS},
        "num_steps_without_label": sum(without_label.values()),
        "steps_without_label": {name: count for name, count in without_label.items() if count},
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": library_versions(),
        "git_commit": git_commit(),
    }
    forget_draws()
    return content


def text_facts(steps: ScoredSteps) -> TextFacts | None:
    """Kind and length of each step by its text; None where there are no texts."""
    if steps.texts is None:
        return None
    texts = [steps.texts.step(row) for row in range(len(steps))]
    return TextFacts(
        kinds=STEP_KINDS,
        kind=np.array([STEP_KINDS.index(step_kind(text)) for text in texts], np.int64),
        length=np.array([len(text) for text in texts], np.int64),
    )


def _known_conflicts(datasets: Mapping[str, Any]) -> dict[str, int]:
    """How many steps of each dataset have ratings that differ, where its reader looked for them."""
    counts = {name: facts.get("reading", {}).get("counts", {}) for name, facts in datasets.items()}
    return {name: int(of.get("rating_conflict", 0)) for name, of in counts.items() if "rated_again" in of}


def part_of_each_tree(steps: ScoredSteps) -> list[str]:
    """The part of its dataset that each tree is of, as the dataset's record says; "" where it says nothing."""
    parts = [""] * len(steps.tree_ids)
    for index, name in enumerate(steps.dataset_names):
        if name in DATASETS:
            for tree in np.unique(steps.tree[steps.dataset == index]).tolist():
                parts[tree] = DATASETS[name].part_of_id(steps.tree_ids[tree])
    return parts


def write_evaluation_files(folder: Path, report: Json, steps: ScoredSteps | None) -> int | None:
    """Write `report` into `folder`, and `steps` beside it; how many rows those are, None without them.

    Both take their places when both are on the disk. `report` gets `predictions_sha256`, of the very file that belongs
    to it, by which a reader knows one that does not.

    Raises:
        StorageError: the folder cannot be written; the former files are whole and belong together.
    """
    is_calibrated = report.get("calibration", {}).get("applied", "none") != "none"
    path = folder / PREDICTIONS
    with written_together() as group:
        count = None if steps is None else write_predictions(path, steps, is_calibrated=is_calibrated)
        report[PREDICTIONS_HASH] = None if steps is None else sha256_of(group.unplaced(path))
        write_json(folder / METRICS, report)
    return count


def dataset_facts(splits: Sequence[StoredSplit], steps: ScoredSteps) -> dict[str, Json]:
    """What reading and scoring each dataset came to, JSON-ready; `steps` are those of `splits`."""
    is_scored = ~np.isnan(steps.confidence)
    scored = _count_by_dataset(steps, is_scored)
    beyond, labels_beyond = _count_by_dataset(steps, ~is_scored), dataset_labels_unscored(steps)
    return {
        split.name: {
            "problems": split.num_problems,
            "trees": len(split),
            "steps_scored": scored[split.name],
            "steps_beyond_position_limit": beyond[split.name],
            "labels_beyond_position_limit": labels_beyond[split.name],
            "files": [] if split.source is None else [str(path) for path in split.source.files],
            "fingerprint": None if split.source is None else split.source.fingerprint(),
            "reading": split.report,
        }
        for split in splits
    }


def dataset_labels_unscored(steps: ScoredSteps) -> dict[str, int]:
    """Labels of each dataset whose steps got no confidence: they lie beyond the backbone's position limit."""
    return _count_by_dataset(steps, np.isnan(steps.confidence) & ~np.isnan(steps.label))


def _count_by_dataset(steps: ScoredSteps, rows: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, int]:
    counts = np.bincount(steps.dataset[rows], minlength=len(steps.dataset_names))
    return dict(zip(steps.dataset_names, counts.tolist(), strict=True))

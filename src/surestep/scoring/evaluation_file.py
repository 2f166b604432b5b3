"""`eval_metrics.json` and the predictions with it, written in the same way by training and by `surestep evaluate`.

Knows scored steps and what a run says of itself; scores nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from surestep.config import EvalConfig
from surestep.data.datasets import DATASETS
from surestep.data.trees.step_kinds import STEP_KINDS, step_kind
from surestep.disk import real_path
from surestep.errors import ConfigError
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
from surestep.untrusted import read_json
from surestep.untrusted.bounds import shown

Json = dict[str, Any]
OF_TRAINING = "what"
"""Key of `eval_metrics.json` that the validation result has which training leaves, and no other evaluation."""
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
        "solution_level": {"per_dataset": in_file_order(solutions), "notes": OF_SOLUTIONS},
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


@dataclass(frozen=True)
class StandingResult:
    """The evaluation whose figures stand in a folder.

    Attributes:
        path: its `eval_metrics.json`.
        split: what was scored; "" where the file cannot be read, so that it must be written again.
        of: the checkpoint, the file of predictions, or the scorer, as the result names it.
        made: when, in words; "" where it does not say.
        is_of_training: whether training left it, as the validation result of its run.
    """

    path: Path
    split: str
    of: str
    made: str
    is_of_training: bool

    def is_again(self, split: str, of: str) -> bool:
        """Whether an evaluation of `of` would be this one again, wherever both are named from."""
        return split == self.split and (of == self.of or real_path(Path(of)) == real_path(Path(self.of)))

    def words(self) -> str:
        """What it is, in half a sentence."""
        if not self.split:
            return f"{self.path}, which cannot be read"
        split = f"{self.split} split"
        made = f", made {self.made}" if self.made else ""
        return f"{self.path}, the result of {shown(self.of)} ({split}{made})"


def standing_result(folder: Path) -> StandingResult | None:
    """The evaluation whose figures stand in `folder`; None where there are none.

    Raises:
        ConfigError: a file of that name stands there that no evaluation wrote.
    """
    path = folder / METRICS
    if not path.exists():
        return None
    try:
        values = read_json(path, allow_nan=True)
    except (OSError, ValueError):
        return StandingResult(path, "", "", "", is_of_training=False)
    if not isinstance(values, dict) or not {"overall", "per_dataset"} <= values.keys():
        raise ConfigError(
            f"{path} is no result of an evaluation, and would be replaced; move it away, or name another --output_dir"
        )
    scorer = values.get("scorer")
    named = scorer.get("spec") if isinstance(scorer, dict) else None
    of = values.get("checkpoint") or values.get("predictions") or named or "another scorer"
    made, split = str(values.get("made", "")), str(values.get("split", "unknown"))
    is_of_training = split == "validation" and OF_TRAINING in values
    return StandingResult(path, split, str(of), made, is_of_training=is_of_training)


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

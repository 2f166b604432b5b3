"""Validation during training, and the report of the best checkpoint on the whole validation set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from surestep.config import Config, EvalConfig
from surestep.files import METRICS
from surestep.metrics.baselines import ConstantBaseline
from surestep.metrics.report import build_report
from surestep.scoring.evaluation_file import (
    dataset_facts,
    evaluation_report,
    measured_predictions,
    write_evaluation_files,
)
from surestep.scoring.protocol import Scorer
from surestep.scoring.score_split import score_split
from surestep.scoring.stored_split import StoredSplit
from surestep.training.events.records import ValidationRecord

REPORT_FILE = METRICS
FIGURES = ("mse", "mae", "r2", "ece", "nll", "brier", "auroc", "accuracy")
HIGHER_IS_BETTER = frozenset({"auroc", "r2"})
_FEWEST_PROBLEMS = 16
_SHARE_OF_WORK = 0.1
_FORWARD_SHARE = 3.0
"""A forward pass costs about a third of a training pass, so three times the tokens take the same time."""


def choose_subsets(
    splits: Mapping[str, StoredSplit], config: Config, *, tokens_per_step: float
) -> dict[str, StoredSplit]:
    """Problems to score at each validation, the same ones every time: as set, or a tenth of the work."""
    training = config.training
    allowed = _SHARE_OF_WORK * _FORWARD_SHARE * training.eval_steps * tokens_per_step / max(len(splits), 1)
    subsets = {}
    for name, split in splits.items():
        mean_tokens = max(split.num_tokens / max(len(split), 1), 1.0)
        count = min(training.validation_samples or max(int(allowed / mean_tokens), _FEWEST_PROBLEMS), len(split))
        chosen = np.random.default_rng([training.seed, len(split)]).permutation(len(split))[:count]
        subsets[name] = split.take(np.sort(chosen))
    return subsets


def validate(
    scorer: Scorer, subsets: Mapping[str, StoredSplit], *, step: int, metric: str, best: float | None
) -> ValidationRecord:
    """Score the labelled steps of `subsets`; the deciding value is the plain mean over datasets of `metric`."""
    steps = score_split(scorer, list(subsets.values()), wanted="labelled")
    report: Any = build_report(measured_predictions(steps))
    per_dataset = {
        name: {figure: section[figure] for figure in FIGURES} for name, section in report["per_dataset"].items()
    }
    mean = {figure: _mean([figures[figure] for figures in per_dataset.values()]) for figure in FIGURES}
    value = mean[metric]
    if value is None:  # one class only, say: the likelihood always has a value
        metric, value = "nll", mean["nll"]
    assert value is not None, "a validation set has at least one label"
    return ValidationRecord(step, metric, value, mean, per_dataset, is_better(value, best, metric))


def is_better(value: float, best: float | None, metric: str) -> bool:
    """Whether `value` beats `best` in the direction of `metric`."""
    if best is None:
        return True
    return value > best if metric in HIGHER_IS_BETTER else value < best


def write_validation_report(
    folder: Path,
    scorer: Scorer,
    splits: Mapping[str, StoredSplit],
    *,
    checkpoint: Path,
    label_means: Mapping[str, float],
    label_mean: float,
    settings: EvalConfig,
) -> dict[str, Any]:
    """Score the whole validation set; write `eval_metrics.json` and, as `settings` says, every step into `folder`.

    The same steps by the same road as `surestep evaluate --split validation`, so with the same figures.
    """
    steps = score_split(scorer, list(splits.values()))
    datasets = dataset_facts(list(splits.values()), steps)
    report = evaluation_report(
        steps,
        settings,
        {
            "split": "validation",
            "checkpoint": str(checkpoint),
            "what": "the best checkpoint on the whole validation set; the test splits were not touched",
            "unscored": {name: facts["labels_beyond_position_limit"] for name, facts in datasets.items()},
            "datasets": datasets,
        },
        constants=ConstantBaseline(per_dataset=dict(label_means), overall=label_mean),
    )
    write_evaluation_files(folder, report, steps if settings.save_predictions else None)
    return report


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None

"""What a user should know of the data of a run: a sentence each, and the same as a report that is saved with it.

Knows training sets and stores; reads no file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from surestep.config import TrainingConfig
from surestep.counted import counted
from surestep.data.records.reading_report import ReadReport
from surestep.scoring.stored_split import StoredSplit
from surestep.scoring.training_set import TrainingSet
from surestep.training.loss import label_weights

MANY_PASSES = 3.0
"""Passes over a dataset above which a small model starts to learn it by heart."""

LARGE_SHARE = 0.1
"""Share of a dataset's labels above which one problem decides too much of what is learned from it."""


def describe(
    sets: Mapping[str, TrainingSet],
    validation: Mapping[str, StoredSplit],
    training: TrainingConfig,
    *,
    num_processes: int = 1,
    steps_from: str = "--max_steps",
) -> tuple[list[str], dict[str, Any]]:
    """What the limits cost, how often each dataset is seen, and what was read: lines for people, and a report.

    Args:
        sets: what is trained on, by dataset.
        validation: what is validated on.
        training: settings, whose `max_steps` are those on these sets.
        num_processes: that train.
        steps_from: what a message calls the setting of `max_steps`.
    """
    lines: list[str] = []
    datasets: dict[str, Any] = {}
    constant = constant_loss(sets, training)
    for name, dataset in sets.items():
        passes = expected_passes(dataset, training, num_processes=num_processes)
        datasets[name] = _report(dataset, passes)
        lines += [*_limits(dataset), *_passes(dataset, passes, steps_from), *_large_problem(dataset)]
        reading = ReadReport.from_dict(dataset.store.notes["report"])
        lines += [f"{name}: {note}" for note in reading.notes]
    if constant is not None:
        lines.append(
            f"loss: nats per label, a mean over the labels of a log line; a constant (each dataset's mean label) has "
            f"{constant:.4f}: a loss that stays about there is on the plateau, one below it has learned something"
        )
    return lines, {
        "constant_nats_per_label": constant,
        "datasets": datasets,
        "validation": {
            name: {
                "problems": split.num_problems,
                "trees": len(split),
                "labels": split.num_labels,
                "reading": split.report,
            }
            for name, split in validation.items()
        },
    }


def expected_passes(dataset: TrainingSet, training: TrainingConfig, *, num_processes: int) -> float:
    """How often a run in so many processes is expected to go through the dataset."""
    per_process = training.max_steps * training.per_device_train_batch_size * training.gradient_accumulation_steps
    draws = per_process * num_processes
    return draws * dataset.share / len(dataset)


def constant_loss(sets: Mapping[str, TrainingSet], training: TrainingConfig) -> float | None:
    """What a constant, each dataset's mean training label, has as loss per label, in nats; None but for plain `bce`.

    With labels of mean m the cross-entropy of m itself is -(m log m + (1 - m) log(1 - m)), soft labels or not.
    """
    if training.loss != "bce" or not training.loss_options().is_plain:
        return None
    labels = {name: dataset.labels_per_example for name, dataset in sets.items()}
    shares = {name: dataset.share for name, dataset in sets.items()}
    weights = label_weights(shares, labels, training.loss_weighting)
    parts = {name: shares[name] * labels[name] * weights[name] for name in sets}
    return sum(part * _entropy(sets[name].label_mean) for name, part in parts.items()) / sum(parts.values())


def _entropy(mean: float) -> float:
    """Of a yes or no with probability `mean`, in nats.

    >>> round(_entropy(0.5), 4), _entropy(1.0)
    (0.6931, 0.0)
    """
    return -sum(p * math.log(p) for p in (mean, 1.0 - mean) if p > 0.0) + 0.0


def _large_problem(dataset: TrainingSet) -> list[str]:
    """Whether one problem outweighs the others; a set of few problems cannot but have large ones."""
    largest = dataset.largest
    if largest is None:
        return []
    share = largest.labels / dataset.num_labels
    if share <= max(LARGE_SHARE, 1.5 / largest.num_problems):
        return []
    return [
        f"{dataset.name}: one problem ({largest.id}) holds {largest.labels:,} of {dataset.num_labels:,} training "
        f"labels ({share:.0%}), so every label of the other {counted(largest.num_problems - 1, 'problem')} counts "
        "for less; keep a sample of its steps and alternatives in the file, or leave it out"
    ]


def _report(dataset: TrainingSet, passes: float) -> dict[str, Any]:
    loss = dataset.loss
    return {
        "share_of_loss": dataset.share,
        "problems": dataset.num_problems,
        "trees": len(dataset),
        "labels": dataset.num_labels,
        "label_mean": dataset.label_mean,
        "tokens_stored": dataset.store.num_tokens,
        "labels_before_limits": loss.labels,
        "labels_beyond_max_length": loss.labels_too_long,
        "labels_beyond_max_steps_per_example": loss.labels_too_deep,
        "steps_dropped_by_limits": loss.steps_dropped,
        "trees_left_without_label": loss.trees_emptied,
        "most_labels_of_a_problem": None if dataset.largest is None else dataset.largest.labels,
        "expected_passes": passes,
        "reading": dataset.store.notes.get("report"),
    }


def _limits(dataset: TrainingSet) -> list[str]:
    """What the limits drop."""
    loss = dataset.loss
    if not loss.labels_dropped:
        return []
    causes = [
        f"{count:,} beyond {limit}"
        for count, limit in (
            (loss.labels_too_deep, f"max_steps_per_example {dataset.max_steps}"),
            (loss.labels_too_long, f"max_length {dataset.max_length}"),
        )
        if count
    ]
    return [
        f"{dataset.name}: the limits drop {loss.labels_dropped:,} of {counted(loss.labels, 'training label')} "
        f"({loss.labels_dropped / loss.labels:.0%}): {', '.join(causes)}; "
        "evaluation scores every step up to the backbone's position limit"
    ]


def _passes(dataset: TrainingSet, passes: float, steps_from: str) -> list[str]:
    """Whether the run sees the same problems very often."""
    if passes <= MANY_PASSES:
        return []
    return [
        f"{dataset.name}: about {passes:.1f} passes over its {counted(len(dataset), 'tree')}; above "
        f"{MANY_PASSES:.0f} watch validation for overfitting (fewer {steps_from}, or early_stopping_patience)"
    ]

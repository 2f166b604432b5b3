"""What a user should know of the data of a run: a sentence each, and the same as a report that is saved with it.

Knows training sets and stores; reads no file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from surestep.config import TrainingConfig
from surestep.data.records.read_report import ReadReport

if TYPE_CHECKING:
    from surestep.training.training_sets import RunData, TrainingSet

MANY_PASSES = 3.0
"""Passes over a dataset above which a small model starts to learn it by heart."""


def describe(run: RunData, training: TrainingConfig) -> None:
    """Add to `run.lines` and `run.report` what the limits cost, how often each dataset is seen, and what was read."""
    datasets: dict[str, Any] = {}
    for name, dataset in run.training.items():
        passes = expected_passes(dataset, training)
        datasets[name] = _report(dataset, passes)
        run.lines += [*_limits(dataset), *_passes(dataset, passes)]
        reading = ReadReport.from_dict(dataset.store.notes["report"])
        run.lines += [f"{name}: {note}" for note in reading.notes]
    run.report |= {
        "datasets": datasets,
        "validation": {
            name: {
                "problems": len(store),
                "labels": store.num_labels,
                "reading": store.notes.get("report"),
            }
            for name, store in run.validation.items()
        },
        "lines": run.lines,
    }


def expected_passes(dataset: TrainingSet, training: TrainingConfig) -> float:
    """How often a run is expected to go through the dataset."""
    draws = training.max_steps * training.per_device_train_batch_size * training.gradient_accumulation_steps
    return draws * dataset.share / len(dataset)


def _report(dataset: TrainingSet, passes: float) -> dict[str, Any]:
    loss = dataset.loss
    return {
        "share_of_loss": dataset.share,
        "problems": len(dataset),
        "labels": dataset.num_labels,
        "label_mean": dataset.label_mean,
        "tokens_stored": dataset.store.num_tokens,
        "labels_before_limits": loss.labels,
        "labels_beyond_max_length": loss.labels_too_long,
        "labels_beyond_max_steps_per_example": loss.labels_too_deep,
        "steps_dropped_by_limits": loss.steps_dropped,
        "problems_left_without_label": loss.problems_emptied,
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
        f"{dataset.name}: the limits drop {loss.labels_dropped:,} of {loss.labels:,} training labels "
        f"({loss.labels_dropped / loss.labels:.0%}): {', '.join(causes)}; "
        "evaluation scores every step that the backbone takes"
    ]


def _passes(dataset: TrainingSet, passes: float) -> list[str]:
    """Whether the run sees the same problems very often."""
    if passes <= MANY_PASSES:
        return []
    return [
        f"{dataset.name}: about {passes:.1f} passes over its {len(dataset):,} problems; above {MANY_PASSES:.0f} watch "
        "validation for overfitting (fewer --max_steps, or early_stopping_patience)"
    ]

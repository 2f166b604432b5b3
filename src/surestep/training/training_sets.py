"""The training examples and the validation sets of a run, and what preparing them cost.

Which examples are used is decided in `scoring.examples_in_use`; here they are described.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from surestep.config import Config
from surestep.data.records.read_report import ReadReport
from surestep.encoding.formatter import Formatter
from surestep.encoding.tokenizer import StepTokenizer
from surestep.scoring.examples_in_use import TrainingSet as TrainingSet
from surestep.scoring.examples_in_use import load_examples
from surestep.scoring.stored_split import ProgressFactory, StoredSplit, silent

MANY_PASSES = 3.0
"""Passes over a dataset above which a small model starts to learn it by heart."""


@dataclass
class RunData:
    """Everything a run reads.

    Attributes:
        training: the mixture, by name.
        validation: the held-out problems of each dataset of the mixture.
        lines: what the user should know, one sentence each.
        report: the same and more, JSON-ready, saved with the run.
    """

    training: dict[str, TrainingSet]
    validation: dict[str, StoredSplit]
    lines: list[str] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def label_means(self) -> dict[str, float]:
        """Training mean of each dataset's labels."""
        return {name: dataset.label_mean for name, dataset in self.training.items()}

    @property
    def label_mean(self) -> float:
        """Mean over all training labels."""
        sets = self.training.values()
        return sum(dataset.label_sum for dataset in sets) / sum(dataset.num_labels for dataset in sets)

    @property
    def initial_confidence(self) -> float:
        """Mean label of the mixture."""
        return sum(dataset.share * dataset.label_mean for dataset in self.training.values())


def load_run_data(
    config: Config,
    tokenizer: StepTokenizer,
    formatter: Formatter,
    *,
    max_positions: int | None,
    progress: ProgressFactory = silent,
) -> RunData:
    """Read, tokenise (or find in the cache), hold out, limit and describe all data of a run.

    `max_positions` is the longest path that the backbone takes.

    Raises:
        DataError: files are missing or malformed, or a dataset is left without an example.
    """
    found = load_examples(config, tokenizer, formatter, max_positions=max_positions, progress=progress)
    run = RunData(training=found.training, validation=found.validation, lines=found.lines)
    if found.overlaps:
        run.report["overlaps"] = found.overlaps
    _describe(config, run, found.splits)
    return run


def _describe(config: Config, run: RunData, splits: dict[str, StoredSplit]) -> None:
    draws = (
        config.training.max_steps
        * config.training.per_device_train_batch_size
        * config.training.gradient_accumulation_steps
    )
    datasets: dict[str, Any] = {}
    for name, dataset in run.training.items():
        passes = draws * dataset.share / len(dataset)
        loss = dataset.loss
        datasets[name] = {
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
            "reading": splits[name].report,
        }
        if loss.labels_dropped:
            causes = [
                f"{count:,} beyond {limit}"
                for count, limit in (
                    (loss.labels_too_deep, f"max_steps_per_example {dataset.max_steps}"),
                    (loss.labels_too_long, f"max_length {dataset.max_length}"),
                )
                if count
            ]
            run.lines.append(
                f"{name}: the limits drop {loss.labels_dropped:,} of {loss.labels:,} training labels "
                f"({loss.labels_dropped / loss.labels:.0%}): {', '.join(causes)}; "
                "evaluation scores every step that the backbone takes"
            )
        if passes > MANY_PASSES:
            run.lines.append(
                f"{name}: about {passes:.1f} passes over its {len(dataset):,} problems; above {MANY_PASSES:.0f} watch "
                "validation for overfitting (fewer --max_steps, or early_stopping_patience)"
            )
        reading = ReadReport.from_dict(splits[name].report)
        run.lines += [f"{name}: {note}" for note in reading.notes]
    run.report |= {
        "datasets": datasets,
        "validation": {
            name: {
                "problems": len(split),
                "labels": split.num_labels,
                "reading": split.report,
            }
            for name, split in run.validation.items()
        },
        "lines": run.lines,
    }

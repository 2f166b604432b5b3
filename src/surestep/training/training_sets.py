"""The training examples and the validation sets of a run, and what preparing them cost.

Which examples are used is decided in `scoring.examples_in_use`; here they are described.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from surestep.config import Config
from surestep.encoding.formatter import Formatter
from surestep.encoding.tokenizer import StepTokenizer
from surestep.scoring.examples_in_use import TrainingSet as TrainingSet
from surestep.scoring.examples_in_use import load_examples, longest_path
from surestep.scoring.stored_split import ProgressFactory, StoredSplit, silent
from surestep.training.describe_data import describe
from surestep.training.loss import effective_ratings


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


def counted_labels_per_example(dataset: TrainingSet, correlation: float) -> float:
    """Mean labels of an example, each counted by its ratings (`effective_ratings`)."""
    if correlation == 1.0:
        return dataset.labels_per_example
    steps = dataset.labelled_steps()
    counts = effective_ratings(dataset.store.num_ratings(steps.tree, steps.step), correlation)
    return float(counts.sum()) / len(dataset)


def load_run_data(
    config: Config,
    tokenizer: StepTokenizer,
    formatter: Formatter,
    *,
    max_positions: int | None,
    num_processes: int = 1,
    progress: ProgressFactory = silent,
) -> RunData:
    """Read, tokenise (or find in the cache), hold out, limit and describe all data of a run.

    Args:
        config: what to read, and how long the run is.
        tokenizer: the backbone's.
        formatter: how steps become text.
        max_positions: the longest path that the backbone takes, in tokens; None: no limit.
        num_processes: processes that train together, each with its own batch.
        progress: told about datasets that are read.

    Raises:
        DataError: files are missing or malformed, or a dataset is left without an example.
    """
    data, seed = config.data, config.training.seed
    max_length, lowered = longest_path(data.max_length, max_positions, backbone=config.model.backbone)
    found = load_examples(data, tokenizer, formatter, seed=seed, max_length=max_length, progress=progress)
    lines = found.lines if lowered is None else [lowered, *found.lines]
    run = RunData(training=found.training, validation=found.validation, lines=lines)
    examples = sum(len(dataset) for dataset in run.training.values())
    if (epochs := config.training.settle_epochs(examples, num_processes=num_processes)) is not None:
        run.lines.append(epochs)
    if found.overlaps:
        run.report["overlaps"] = found.overlaps
    run.report["selection"] = found.selection
    lines, report = describe(run.training, run.validation, config.training, num_processes=num_processes)
    run.lines += lines
    run.report |= report | {"lines": run.lines}
    return run

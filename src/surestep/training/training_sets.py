"""The training examples and the validation sets of a run, and what preparing them cost.

Which examples are used is decided in `scoring.examples_in_use`; here they are described.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from surestep.config import Config, DataConfig, TrainingConfig
from surestep.config.phases import settle_steps
from surestep.encoding.formatter import Formatter
from surestep.encoding.tokenizer import StepTokenizer
from surestep.scoring.examples_in_use import ExamplesInUse, load_examples, longest_path
from surestep.scoring.stored_split import ProgressFactory, StoredSplit, silent
from surestep.scoring.training_set import TrainingSet as TrainingSet
from surestep.scoring.training_set import distinct_sets, label_means
from surestep.training.describe_data import describe
from surestep.training.phases.overlap import overlap_lines
from surestep.training.phases.plan import TrainingPhase, plan_phases


@dataclass
class RunData:
    """Everything a run reads.

    Attributes:
        training: the mixture, by name.
        validation: the held-out problems of each dataset of the mixture.
        lines: what the user should know, one sentence each.
        report: the same and more, JSON-ready, saved with the run.
        phases: of the run, in order; `training` is then the first one's. Without phases, the whole run as one.
    """

    training: dict[str, TrainingSet]
    validation: dict[str, StoredSplit]
    lines: list[str] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)
    phases: list[TrainingPhase] = field(default_factory=list)

    @cached_property
    def distinct(self) -> list[TrainingSet]:
        """Everything that is trained on, each example once however many phases draw it."""
        if len(self.phases) <= 1:
            return list(self.training.values())
        return distinct_sets(dataset for phase in self.phases for dataset in phase.data.values())

    @property
    def label_means(self) -> dict[str, float]:
        """Training mean of each dataset's labels."""
        return label_means(self.distinct)

    @property
    def label_mean(self) -> float:
        """Mean over all training labels."""
        sets = self.distinct
        return sum(dataset.label_sum for dataset in sets) / sum(dataset.num_labels for dataset in sets)

    @property
    def initial_confidence(self) -> float:
        """Mean label of the mixture that training begins with."""
        return sum(dataset.share * dataset.label_mean for dataset in self.training.values())


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
    parts = [
        _load_phase(
            phase.data,
            phase.training,
            tokenizer,
            formatter,
            longest=longest_path(phase.data.max_length, max_positions, backbone=config.model.backbone),
            progress=progress,
            run_data=config.data if config.phases else None,
        )
        for phase in config.of_phases()
    ]
    run = RunData(training=parts[0].examples.training, validation=parts[0].examples.validation)
    run.lines += [] if config.phases else parts[0].lowered
    epochs = [part.settle_epochs(num_processes) for part in parts]
    if config.phases:
        settle_steps(config, [part.training.max_steps for part in parts])
    names: list[str | None] = [phase.name for phase in config.phases] or [None]
    run.phases = plan_phases(
        [(name, part.training, part.examples.training) for name, part in zip(names, parts, strict=True)]
    )
    for phase, part, epoch in zip(run.phases, parts, epochs, strict=True):
        _describe(run, phase, part, epoch, num_processes=num_processes)
    run.lines += overlap_lines(run.phases, run.validation)
    run.lines = list(dict.fromkeys(run.lines))
    run.report |= {"lines": run.lines}
    return run


@dataclass(frozen=True)
class _Part:
    """A phase's settings and what was read for it; `lowered` says where `max_length` was."""

    training: TrainingConfig
    examples: ExamplesInUse
    lowered: list[str]

    def settle_epochs(self, num_processes: int) -> str | None:
        """Turn passes over the data into steps, now that the data are known; a line where passes were asked for."""
        examples = sum(len(dataset) for dataset in self.examples.training.values())
        return self.training.settle_epochs(examples, num_processes=num_processes)


def _load_phase(
    data: DataConfig,
    training: TrainingConfig,
    tokenizer: StepTokenizer,
    formatter: Formatter,
    *,
    longest: tuple[int, str | None],
    progress: ProgressFactory,
    run_data: DataConfig | None,
) -> _Part:
    max_length, lowered = longest
    examples = load_examples(
        data, tokenizer, formatter, seed=training.seed, max_length=max_length, progress=progress, run_data=run_data
    )
    return _Part(training, examples, [] if lowered is None else [lowered])


def _describe(run: RunData, phase: TrainingPhase, part: _Part, epoch: str | None, *, num_processes: int) -> None:
    """Say what a phase's data are, and put them into the report, under the phase's name where it has one."""
    found = part.examples
    described, report = describe(
        phase.data,
        run.validation,
        phase.settings,
        num_processes=num_processes,
        steps_from=phase.setting("max_steps"),
    )
    lines = [*found.lines, *([] if epoch is None else [epoch]), *described]
    if phase.name is None:
        run.lines += lines
        run.report |= ({"overlaps": found.overlaps} if found.overlaps else {}) | {"selection": found.selection} | report
        return
    run.lines += [f"phase {phase.name}: {line}" for line in [*part.lowered, *lines]]
    of_phase = {name: f"{phase.name}: {name}" for name in phase.data}
    datasets = {of_phase[name]: {**facts, "dataset": name} for name, facts in report["datasets"].items()}
    overlaps = [{**overlap, "phase": phase.name} for overlap in found.overlaps]
    run.report.setdefault("overlaps", []).extend(overlaps)
    run.report.setdefault("selection", {}).update({of_phase[name]: facts for name, facts in found.selection.items()})
    run.report.setdefault("datasets", {}).update(datasets)
    run.report.setdefault("phases", []).append(
        {
            "name": phase.name,
            "first_step": phase.first_step,
            "last_step": phase.last_step,
            "datasets": list(datasets),
            "constant_nats_per_label": report["constant_nats_per_label"],
        }
    )
    run.report["validation"] = report["validation"]
    run.report.setdefault("constant_nats_per_label", report["constant_nats_per_label"])

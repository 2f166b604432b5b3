"""Which optimiser steps are which phase's, and what each phase draws from.

A run without phases is a run of one phase without a name. Steps count through the whole run; a phase's learning rate
counts from its own first step. Knows training sets and settings; knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from surestep.config import TrainingConfig
from surestep.counted import counted
from surestep.scoring.training_set import TrainingSet
from surestep.training.loss import effective_ratings, label_weights
from surestep.training.mixture import Mixture


@dataclass(frozen=True, eq=False)
class TrainingPhase:
    """A part of a run, with its own data and settings.

    Attributes:
        name: None where the run has no phases.
        number: from 1, of `of` phases.
        first_step: optimiser steps that were done before it.
        settings: the training section as it holds in this phase; its `max_steps` are the phase's own.
        data: the training sets, by name.
    """

    name: str | None
    number: int
    of: int
    first_step: int
    settings: TrainingConfig
    data: Mapping[str, TrainingSet]

    @property
    def last_step(self) -> int:
        """Optimiser steps that are done when it ends."""
        return self.first_step + self.settings.max_steps

    def setting(self, name: str) -> str:
        """How a message calls the setting `name` of `training`: a flag, or the phase's own key, which comes before it.

        >>> TrainingPhase("hard", 2, 2, 100, TrainingConfig(), {}).setting("max_steps")
        "training.max_steps of phase 'hard'"
        """
        return f"--{name}" if self.name is None else f"training.{name} of phase {self.name!r}"

    def calmer(self) -> str:
        """What to change where training diverged in this phase."""
        now = f"{self.setting('learning_rate')} (now {self.settings.learning_rate:g})"
        return f"lower {now} or {self.setting('max_grad_norm')}"

    @property
    def shares(self) -> dict[str, float]:
        """The probability of drawing from each dataset."""
        return {name: dataset.share for name, dataset in self.data.items()}

    def mixture(self) -> Mixture:
        """What its examples are drawn by, from the beginning of the phase."""
        return Mixture(
            self.shares,
            {name: len(dataset) for name, dataset in self.data.items()},
            seed=self.settings.seed,
            phase=self.number - 1,
            ranks={name: dataset.rank for name, dataset in self.data.items() if dataset.rank is not None},
        )

    def label_weights(self) -> dict[str, float]:
        """Weight of a label of each dataset."""
        correlation = self.settings.rating_correlation
        labels = {name: counted_labels_per_example(dataset, correlation) for name, dataset in self.data.items()}
        return label_weights(self.shares, labels, self.settings.loss_weighting)

    def tokens_per_step(self) -> float:
        """Expected tokens of an optimiser step of one process."""
        examples = self.settings.per_device_train_batch_size * self.settings.gradient_accumulation_steps
        return examples * sum(dataset.share * dataset.mean_tokens() for dataset in self.data.values())

    def line(self) -> str:
        """What begins now, for people."""
        examples = self.settings.per_device_train_batch_size * self.settings.gradient_accumulation_steps
        return (
            f"phase {self.number} of {self.of}, {self.name}: steps {self.first_step + 1:,} to {self.last_step:,}; "
            f"learning rate {self.settings.learning_rate:g}, {counted(examples, 'example')} a step and device, "
            f"{counted(sum(map(len, self.data.values())), 'training tree')}"
        )


def counted_labels_per_example(dataset: TrainingSet, correlation: float) -> float:
    """Mean labels of an example, each counted by its ratings (`effective_ratings`)."""
    if correlation == 1.0:
        return dataset.labels_per_example
    steps = dataset.labelled_steps()
    counts = effective_ratings(dataset.store.num_ratings(steps.tree, steps.step), correlation)
    return float(counts.sum()) / len(dataset)


def whole_run(settings: TrainingConfig, data: Mapping[str, TrainingSet]) -> TrainingPhase:
    """A run without phases, as the one phase that it is."""
    return TrainingPhase(None, 1, 1, 0, settings, data)


def plan_phases(parts: Sequence[tuple[str | None, TrainingConfig, Mapping[str, TrainingSet]]]) -> list[TrainingPhase]:
    """One phase behind the other: name, settings and data of each."""
    phases: list[TrainingPhase] = []
    for number, (name, settings, data) in enumerate(parts, start=1):
        first = phases[-1].last_step if phases else 0
        phases.append(TrainingPhase(name, number, len(parts), first, settings, data))
    return phases


def phase_at(phases: Sequence[TrainingPhase], step: int) -> TrainingPhase:
    """The phase that the step after `step` belongs to; behind the end the last one."""
    return next((phase for phase in phases if step < phase.last_step), phases[-1])


def tokens_per_step(phases: Sequence[TrainingPhase]) -> float:
    """Expected tokens of an optimiser step of one process, on average over the run."""
    steps = sum(phase.settings.max_steps for phase in phases)
    return sum(phase.settings.max_steps * phase.tokens_per_step() for phase in phases) / steps

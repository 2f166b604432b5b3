"""The phases of a run: each lays its own data, steps and learning rate over the run's.

A phase names what differs and nothing else. What the run as a whole has one of (its validation, its seed, its device,
its rhythm of logs and checkpoints) is no phase's. Knows the fields; reads no data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from surestep.config import consistency
from surestep.config.data import DataConfig
from surestep.config.read import lay_over
from surestep.config.training import DEFAULT_MAX_STEPS, TrainingConfig
from surestep.errors import ConfigError
from surestep.settings import Section
from surestep.untrusted import NAME

if TYPE_CHECKING:
    from surestep.config import Config

PHASE_TRAINING_FIELDS = frozenset(
    {
        "max_steps",
        "num_train_epochs",
        "learning_rate",
        "head_learning_rate",
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "lr_scheduler_type",
        "lr_scheduler_kwargs",
        "warmup_steps",
        "warmup_ratio",
        "weight_decay",
        "max_grad_norm",
        "loss_weighting",
    }
)
"""The fields of `training` that a phase may set; the others hold for the whole run."""

RUN_DATA_FIELDS = frozenset(
    {"cache_dir", "validation_fraction", "validation_seed", "own_validation", "own_test", "remove_overlap"}
)
"""The fields of `data` that a phase may not set: they decide what the run is validated and tested on."""


class _OnlySet(Section):
    """Holds every field of a section and gives away those that were set: an override, not a configuration."""

    @model_serializer(mode="wrap")
    def only_set(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The fields that were set, JSON-ready."""
        values: dict[str, Any] = handler(self)
        return {name: value for name, value in values.items() if name in self.model_fields_set}


class PhaseData(DataConfig, _OnlySet):
    """What a phase trains on, where that is not what `data` of the run says."""


class PhaseTraining(TrainingConfig, _OnlySet):
    """How a phase trains, where that is not what `training` of the run says."""


class PhaseConfig(Section):
    """One phase: a name, and the fields of `data` and `training` that it sets.

    >>> phase = PhaseConfig(name="easy", training={"max_steps": 10})
    >>> phase.model_dump()
    {'name': 'easy', 'data': {}, 'training': {'max_steps': 10}}
    """

    name: Annotated[str, NAME] = Field(description="Names the phase in logs, lines and reports.")
    data: PhaseData = Field(default_factory=PhaseData, description="Fields of `data` that differ in this phase.")
    training: PhaseTraining = Field(
        default_factory=PhaseTraining, description="Fields of `training` that differ; `max_steps` is the phase's own."
    )


PHASE_PRESETS: dict[str, list[dict[str, Any]]] = {
    "progressive": [
        {"name": "test", "data": {"max_train_samples": 5000}, "training": {"max_steps": 1000}},
        {"name": "medium", "data": {"max_train_samples": None}, "training": {"max_steps": 5000}},
        {"name": "full", "data": {"max_train_samples": None}, "training": {"max_steps": 10_000}},
    ],
    "curriculum": [
        {"name": "easy", "data": {"prm800k_phase": 1}, "training": {"max_steps": 3000}},
        {"name": "hard", "data": {"prm800k_phase": 2}, "training": {"max_steps": 7000}},
    ],
}
"""Name to phases: those of "Progressive Training" and "Curriculum Learning" of docs/best-practices.md."""


def named_phases(phases: object) -> object:
    """The phases of a preset where a name is given, else what was given.

    >>> [phase["name"] for phase in named_phases("curriculum")], named_phases([])
    (['easy', 'hard'], [])
    """
    if phases is None:
        return []
    if isinstance(phases, str) and phases in PHASE_PRESETS:
        return PHASE_PRESETS[phases]
    if isinstance(phases, str):
        raise ValueError(f"a list of phases, or {' or '.join(map(repr, PHASE_PRESETS))}")
    return phases


def phase_configs(config: Config) -> list[Config]:
    """The configuration of each phase, whole; `config` itself where it has no phases.

    Raises:
        ConfigError: a phase's values are not allowed.
    """
    if not config.phases:
        return [config]
    base = config.to_dict() | {"phases": []}
    base["training"] |= {"max_steps": DEFAULT_MAX_STEPS, "num_train_epochs": None}
    found = []
    for phase in config.phases:
        values = lay_over(base, phase.model_dump(mode="json", exclude={"name"}))
        try:
            found.append(type(config).from_dict(values))
        except ConfigError as error:
            raise ConfigError([_of(phase, problem) for problem in error.problems]) from None
    return found


def settle_steps(config: Config, steps: Sequence[int]) -> None:
    """Write the steps that each phase takes into it, and their sum into the run's `max_steps`."""
    for phase, count in zip(config.phases, steps, strict=True):
        # Not by assignment, which would unset the passes that the steps came from.
        Section.__setattr__(phase.training, "max_steps", count)
    Section.__setattr__(config.training, "max_steps", sum(steps))


def planned_steps(config: Config) -> int | None:
    """Steps of all phases together; None where one says passes over its data and these are not counted yet."""
    counts = [
        phase.training.max_steps if "max_steps" in phase.training.model_fields_set else None for phase in config.phases
    ]
    return None if None in counts else sum(count for count in counts if count is not None)


def phase_problems(config: Config) -> list[str]:
    """Each contradiction in the phases as one sentence; empty where there are none."""
    found: list[str] = []
    names = [phase.name for phase in config.phases]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        found.append(f"phases: the name {twice[0]!r} is there {names.count(twice[0])} times; give each phase its own")
    for phase in config.phases:
        found += [_of(phase, problem) for problem in _own_problems(phase)]
    if config.training.num_train_epochs is not None:
        found.append(
            "training.num_train_epochs is set, but the phases say how long the run is: set it in each phase, or leave "
            "it out"
        )
    total, said = planned_steps(config), config.training.max_steps
    if said not in {DEFAULT_MAX_STEPS, total}:
        known = "take as many as their passes come to" if total is None else f"take {total:,} together"
        found.append(
            f"training.max_steps is {said:,}, but the phases {known}: set training.max_steps in each phase, and leave "
            "it out of the run"
        )
    if found:
        return found
    try:
        whole = phase_configs(config)
    except ConfigError as error:
        return error.problems
    return [
        _of(phase, problem)
        for phase, resolved in zip(config.phases, whole, strict=True)
        for problem in consistency.problems(resolved)
    ]


def phase_warnings(config: Config) -> list[str]:
    """What is allowed in the phases but seldom meant, one sentence each."""
    return [
        _of(phase, warning)
        for phase, resolved in zip(config.phases, phase_configs(config), strict=True)
        for warning in consistency.warnings(resolved)
    ]


def _own_problems(phase: PhaseConfig) -> list[str]:
    training, data = phase.training.model_fields_set, phase.data.model_fields_set
    found = [
        f"{name} holds for the whole run: set it outside of the phases"
        for name in (
            *(f"training.{name}" for name in sorted(training - PHASE_TRAINING_FIELDS)),
            *(f"data.{name}" for name in sorted(data & RUN_DATA_FIELDS)),
        )
    ]
    if "max_steps" not in training and phase.training.num_train_epochs is None:
        found.append("it has no length: set training.max_steps or training.num_train_epochs in it")
    return found


def _of(phase: PhaseConfig, problem: str) -> str:
    return f"phase {phase.name!r}: {problem}"

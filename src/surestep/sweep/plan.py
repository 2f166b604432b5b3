"""What a sweep is to do: its settings, its definition, and the configuration of each run.

Knows the configuration and the space; knows no search, no process and no result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt

from surestep.config import Config
from surestep.counted import counted
from surestep.errors import ConfigError
from surestep.files import CONFIG
from surestep.metrics.figures import FIGURES
from surestep.settings import Section
from surestep.sweep.space import Space, configuration_of, read_space

STUDY = "study.db"
"""The sweep's database, unless another one is named."""
RUNS, LOGS, CONFIGS = "runs", "logs", "configs"
"""Folders of a sweep: of its runs, what they printed, and what they were started with."""
RESULTS, BEST_CONFIG, PLOT = "sweep.json", "best_config.json", "sweep.png"

FORMAT = 1
DEFAULT_TRIALS = 20
SMALL_GRID = 20
"""So many combinations are tried one by one, where nothing else is asked for."""
_OF_THE_MACHINE = {"experiment_name", "output_dir", "data.cache_dir", "training.device"}
"""Fields that may differ between the workers of one sweep."""

Sampler = Literal["tpe", "grid", "random"]


class SweepSettings(Section):
    """How the space is searched."""

    sampler: Literal["auto", "tpe", "grid", "random"] = Field(
        "auto",
        description=(
            "What chooses the settings of a trial: `grid` (every combination), `random`, or `tpe` (by what earlier "
            f"trials showed). `auto`: grid up to {SMALL_GRID} combinations, else tpe."
        ),
    )
    trials: PositiveInt | None = Field(
        None, description=f"Trials in all; unset: all of a grid, else {DEFAULT_TRIALS}. More may be asked for later."
    )
    seeds: Annotated[int, Field(ge=1, le=100)] = Field(
        1, description="Runs of each trial, with training.seed and those that follow; their mean is compared."
    )
    pruning: Literal["median", "none"] = Field(
        "median",
        description="Stop a trial whose validation is worse than the median of the finished ones at the same step.",
    )
    workers: Annotated[int, Field(ge=1, le=256)] = Field(
        1, description="Trials trained at once on this machine, spread over its GPUs."
    )


@dataclass(frozen=True)
class SweepPlan:
    """A sweep, as its definition and this machine have it.

    Attributes:
        base: the configuration that every trial starts from; its folder is the sweep's.
        space: what is tried.
        sampler: what chooses.
        trials: how many in all.
        num_seeds: runs of each trial.
        pruning: whether trials that do badly are stopped.
    """

    base: Config
    space: Space
    sampler: Sampler
    trials: int
    num_seeds: int
    pruning: bool

    @classmethod
    def of(cls, base: Config, space: Space, settings: SweepSettings) -> SweepPlan:
        """The plan that flags ask for.

        Raises:
            ConfigError: they contradict each other, or the space.
        """
        size = space.size
        sampler: Sampler
        if settings.sampler == "auto":
            few = size is not None and size <= max(SMALL_GRID, settings.trials or 0)
            sampler = "grid" if few else "tpe"
        else:
            sampler = settings.sampler
        trials = settings.trials or DEFAULT_TRIALS
        if sampler == "grid":
            count = len(list(space.points())) if size is None else size  # the former says which range has no steps
            if settings.trials is not None and settings.trials < count:
                raise ConfigError(
                    f"--trials is {settings.trials}, but the grid has {counted(count, 'combination')} and is tried "
                    "as a whole; leave --trials out, or choose --sampler random or tpe"
                )
            trials = count
        return cls(base, space, sampler, trials, settings.seeds, settings.pruning == "median")

    @property
    def name(self) -> str:
        """Of the sweep: the experiment's."""
        return self.base.experiment_name

    @property
    def folder(self) -> Path:
        """Where all of it lies."""
        return self.base.experiment_dir

    @property
    def metric(self) -> str:
        """The figure of the best checkpoint that trials are compared by."""
        return self.base.training.best_metric

    @property
    def lower_is_better(self) -> bool:
        """Its direction."""
        return FIGURES[self.metric].direction == "lower"

    @property
    def seeds(self) -> list[int]:
        """Of the runs of each trial."""
        return [self.base.training.seed + number for number in range(self.num_seeds)]

    def configuration(self, trial: int, seed: int, values: Mapping[str, Any]) -> Config:
        """Of one run of a trial (counted from 1), whose fields take `values`.

        Raises:
            ConfigError: the values contradict each other.
        """
        config = configuration_of(self.base, values)
        config.output_dir = self.folder / RUNS
        config.experiment_name = f"trial_{trial:04d}_seed_{seed}"
        config.training.seed = seed
        config.check()
        return config

    def best_configuration(self, values: Mapping[str, Any]) -> Config:
        """The one to train with: the base with the best trial's values, under a name of its own."""
        config = configuration_of(self.base, values)
        config.experiment_name = f"{self.name}_best"
        return config

    def definition(self) -> dict[str, Any]:
        """What all workers of the sweep agree on, as JSON-ready values."""
        return {
            "format": FORMAT,
            "space": self.space.to_json(),
            "sampler": self.sampler,
            "seeds": self.num_seeds,
            "pruning": self.pruning,
            "base": self.base.to_dict(),
        }

    def check_same(self, stored: Mapping[str, Any]) -> None:
        """Compare with the definition that the sweep was begun with.

        Raises:
            ConfigError: it is another one; the message names what differs.
        """
        before, now = (dict(_flat(definition)) for definition in (stored, self.definition()))
        fixed = {f"base.{path}" for path in _OF_THE_MACHINE}
        changed = [path for path in dict.fromkeys([*before, *now]) if path not in fixed]
        changed = [path for path in changed if before.get(path) != now.get(path)]
        if changed:
            shown = ", ".join(
                f"{path.removeprefix('base.')} ({before.get(path)}, now {now.get(path)})" for path in changed[:4]
            )
            raise ConfigError(
                f"the sweep {self.name} was begun with other settings: {shown}; give the same ones to go on with it, "
                "or begin another with --experiment_name"
            )


def plan_of(definition: Mapping[str, Any], *, output_dir: Path, name: str, trials: int) -> SweepPlan:
    """The plan of a sweep that exists, from its definition."""
    base = Config.from_dict({**definition["base"], "output_dir": str(output_dir), "experiment_name": name})
    space = read_space([f"{path}={text}" for path, text in definition["space"].items()], base)
    return SweepPlan(base, space, definition["sampler"], trials, definition["seeds"], definition["pruning"])


def refuse_other_folder(folder: Path) -> None:
    """Raise where the sweep's folder is that of a run.

    Raises:
        ConfigError: a run of training lies there.
    """
    if (folder / CONFIG).exists():
        raise ConfigError(f"{folder} holds a run, not a sweep; choose another --experiment_name")


def _flat(values: Mapping[str, Any], prefix: str = "") -> Any:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value

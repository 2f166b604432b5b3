"""The configuration of a run: one tree of checked fields, saved with everything that it made.

Knows no file of data, no tensor and no flag. `Config` holds; `save` and `from_file` move it to and
from disk; `problems` says what contradicts, all at once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationError

from surestep.config import consistency, phases
from surestep.config.core_yaml import dump_yaml
from surestep.config.data import DataConfig
from surestep.config.evaluation import EvalConfig
from surestep.config.model import DEFAULT_BACKBONE, TINY_BACKBONE, LoraConfig, ModelConfig
from surestep.config.other_names import hint
from surestep.config.phases import PhaseConfig, named_phases
from surestep.config.read import lay_over, read_config_file
from surestep.config.training import LORA_LEARNING_RATE, TrainingConfig
from surestep.data.datasets import DATASET_NAMES
from surestep.errors import ConfigError
from surestep.files import write_text
from surestep.settings import Section, describe
from surestep.untrusted import NAME

__all__ = [
    "DATASET_NAMES",
    "DEFAULT_BACKBONE",
    "TINY_BACKBONE",
    "Config",
    "DataConfig",
    "EvalConfig",
    "LoraConfig",
    "ModelConfig",
    "PhaseConfig",
    "TrainingConfig",
    "get_default_config",
    "get_lora_config",
]


class Config(Section):
    """Everything that decides a run.

    >>> config = get_lora_config()
    >>> config.training.max_steps = 2000
    >>> config.training.learning_rate
    0.0001
    """

    experiment_name: Annotated[str, NAME] = Field(
        "surestep", description="Names the run's folder: `<output_dir>/<experiment_name>`."
    )
    output_dir: Path = Field(Path("outputs"), description="Folder that holds the runs.")
    model: ModelConfig = Field(default_factory=ModelConfig)
    lora: LoraConfig = Field(default_factory=LoraConfig)
    data: DataConfig = Field(default_factory=DataConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    eval: EvalConfig = Field(default_factory=EvalConfig)
    phases: Annotated[list[PhaseConfig], BeforeValidator(named_phases)] = Field(
        [],
        description=(
            "Phases of the run, one after the other, each with a `name` and the fields of `data` and `training` that "
            "differ in it; or a preset's name: `progressive`, `curriculum`. Empty: the run is one."
        ),
    )

    @property
    def experiment_dir(self) -> Path:
        """Where checkpoints and logs of this run lie."""
        return self.output_dir / self.experiment_name

    @property
    def validation_dir(self) -> Path:
        """Where training leaves the best checkpoint's validation result."""
        return self.output_dir / f"eval_{self.experiment_name}"

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON-ready values."""
        return self.model_dump(mode="json")

    def save(self, path: Path | str) -> None:
        """Write to `path`: YAML where it ends in .yaml or .yml, else JSON. Folders are made.

        Raises:
            StorageError: the file cannot be written.
        """
        path = Path(path)
        values = self.to_dict()
        is_yaml = path.suffix in {".yaml", ".yml"}
        text = dump_yaml(values) if is_yaml else json.dumps(values, indent=2) + "\n"
        write_text(path, text, advice="choose another place for the configuration")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from nested values; fields not named keep their defaults.

        Raises:
            ConfigError: every unknown field and every bad value, all at once.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(describe(error, cls, hint=lambda name: hint(name, field_paths()))) from None

    @classmethod
    def from_file(cls, path: Path | str, *, base: Config | None = None) -> Self:
        """Read a JSON or YAML file over `base` (default: the full fine-tuning preset).

        Raises:
            ConfigError: the file is missing, is not JSON or YAML, or holds unknown or bad values.
        """
        values = lay_over((base or Config()).to_dict(), read_config_file(path))
        try:
            return cls.from_dict(values)
        except ConfigError as error:
            raise ConfigError([f"{path}: {problem}" for problem in error.problems]) from None

    @classmethod
    def from_json(cls, path: Path | str) -> Self:
        """Read a JSON file: `from_file` under the name that goes with `save`."""
        return cls.from_file(path)

    def problems(self) -> list[str]:
        """What contradicts within the configuration, one sentence each; empty where all is well."""
        if self.phases:
            return phases.phase_problems(self)
        return consistency.problems(self)

    def warnings(self) -> list[str]:
        """What is allowed but seldom meant, one sentence each; a run says them at its start."""
        return phases.phase_warnings(self) if self.phases else consistency.warnings(self)

    def data_of_phases(self) -> dict[str, DataConfig]:
        """What each phase reads, by its name; empty where there are none."""
        return {phase.name: whole.data for phase, whole in zip(self.phases, self.of_phases(), strict=bool(self.phases))}

    def of_phases(self) -> list[Config]:
        """The configuration of each phase, whole and without phases; itself where it has none.

        Raises:
            ConfigError: a phase's values are not allowed.
        """
        return phases.phase_configs(self)

    def check(self) -> None:
        """Raise all `problems` as one error.

        Raises:
            ConfigError: the configuration contradicts itself.
        """
        if found := self.problems():
            raise ConfigError(found)


def field_paths() -> list[str]:
    """Dotted path of every field of the configuration."""
    sections = {name: info.annotation for name, info in Config.model_fields.items()}
    return [
        path
        for name, kind in sections.items()
        for path in (
            [f"{name}.{inner}" for inner in kind.model_fields]
            if isinstance(kind, type) and issubclass(kind, Section)
            else [name]
        )
    ]


def get_default_config() -> Config:
    """The full fine-tuning preset: every weight is trained, learning rate 2e-5."""
    return Config()


def get_lora_config() -> Config:
    """The LoRA preset: adapters of rank 16, learning rate 1e-4."""
    config = Config()
    config.lora.use_lora = True
    config.training.learning_rate = LORA_LEARNING_RATE
    return config
